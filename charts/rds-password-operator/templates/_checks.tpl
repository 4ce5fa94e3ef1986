{{/* What values.schema.json cannot say: values that contradict each other. */}}
{{- define "rds-password-operator.checks" -}}
{{- if not .Values.region }}
{{- fail "region is required: the region of the RDS instances, for example --set region=cn-shanghai" }}
{{- end }}
{{- with .Values.rrsa }}
{{- if and .enabled (not (and .roleArn .oidcProviderArn)) }}
{{- fail "rrsa.enabled needs rrsa.roleArn and rrsa.oidcProviderArn" }}
{{- end }}
{{- if and .enabled $.Values.credentials.accessKeySecret.name }}
{{- fail "set one of rrsa.enabled and credentials.accessKeySecret.name: with both, the AccessKey would be used" }}
{{- end }}
{{- end }}
{{- if and (eq .Values.credentials.source "node-role") (not .Values.credentials.allowNodeRole) }}
{{- fail "credentials.source=node-role needs credentials.allowNodeRole=true: every pod of the node can have that role" }}
{{- end }}
{{- with .Values.leaderElection }}
{{- $lease := include "rds-password-operator.milliseconds" .leaseDuration | int64 }}
{{- $renew := include "rds-password-operator.milliseconds" .renewDeadline | int64 }}
{{- $retry := include "rds-password-operator.milliseconds" .retryPeriod | int64 }}
{{- if not (and (lt $retry $renew) (lt $renew $lease)) }}
{{- fail "leaderElection.retryPeriod must be shorter than renewDeadline, and that shorter than leaseDuration" }}
{{- end }}
{{- if not .enabled }}
{{- if gt ($.Values.replicas | int64) 1 }}
{{- fail "leaderElection.enabled=false needs replicas=1: nothing else keeps two from working at once" }}
{{- end }}
{{- if and $.Values.updateStrategy.type (ne $.Values.updateStrategy.type "Recreate") }}
{{- fail "leaderElection.enabled=false needs updateStrategy.type=Recreate: nothing else keeps two from working at once" }}
{{- end }}
{{- end }}
{{- end }}
{{- $grace := include "rds-password-operator.milliseconds" .Values.shutdownGrace | int64 }}
{{- if ge $grace (mul (.Values.terminationGracePeriodSeconds | int64) 1000) }}
{{- fail "terminationGracePeriodSeconds must be longer than shutdownGrace: the kubelet would kill the process within a reset" }}
{{- end }}
{{- with .Values.metrics }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- fail "set one of metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: with both, everything is counted twice" }}
{{- end }}
{{- if and .serviceMonitor.enabled (not $.Values.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs service.enabled; metrics.podMonitor.enabled does not" }}
{{- end }}
{{- end }}
{{- end }}
