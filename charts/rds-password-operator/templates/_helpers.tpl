{{- define "rds-password-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 46 characters, so that with a Deployment's and a ReplicaSet's suffix a pod's name is a host name (63). */}}
{{- define "rds-password-operator.fullname" -}}
{{- $name := include "rds-password-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "rds-password-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rds-password-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rds-password-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "rds-password-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "rds-password-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rds-password-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rds-password-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels and annotations of an object: a list of the context, and of what the object has of its own. */}}
{{- define "rds-password-operator.metadata" -}}
{{- $context := index . 0 -}}
{{- $own := index . 1 -}}
{{- $labels := include "rds-password-operator.selectorLabels" $context | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" $context.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $context.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $context.Chart.Name ($context.Chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-") -}}
labels:
  {{- merge $labels ($own.labels | default dict) $context.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) ($own.annotations | default dict) $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Milliseconds of a duration such as 500ms, 15s or 2m. */}}
{{- define "rds-password-operator.milliseconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- mul $number (get (dict "ms" 1 "s" 1000 "m" 60000) $unit) }}
{{- end }}

{{/* The text of a file of the chart: a list of the context and the path. */}}
{{- define "rds-password-operator.file" -}}
{{- $path := index . 1 }}
{{- (index . 0).Files.Get $path | required (printf "the chart is damaged: it lacks %s" $path) }}
{{- end }}

{{/* What the operator may do in the namespaces that it watches. Secrets are read and never written. */}}
{{- define "rds-password-operator.watchRules" -}}
- apiGroups: [rds.password-operator.dev]
  resources: [databaseaccountpasswords]
  verbs: [get, list, watch]
- apiGroups: [rds.password-operator.dev]
  resources: [databaseaccountpasswords/status]
  verbs: [update]
# list and watch ask for the metadata alone, but RBAC cannot say so; get reads the value.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
