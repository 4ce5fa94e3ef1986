{{/* The arguments of `rds-password-operator run`. */}}
{{- define "rds-password-operator.arguments" -}}
- --region={{ .Values.region }}
{{- range .Values.allowedRegions }}
- --allowed-regions={{ . }}
{{- end }}
- --listen={{ .Values.listen.address }}:{{ .Values.listen.port | int64 }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
- --shutdown-grace={{ .Values.shutdownGrace }}
{{- range .Values.scope.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.rds }}
- --rds-network={{ .network }}
- --rds-signature={{ .signature }}
- --rds-qps={{ .queriesPerSecond | int64 }}
- --concurrency={{ .concurrency | int64 }}
- --reset-timeout={{ .resetTimeout }}
- --reset-settling-time={{ .resetSettlingTime }}
{{- with .endpoint }}
- --rds-endpoint={{ . }}
{{- end }}
{{- end }}
{{- with .Values.sts.endpoint }}
- --sts-endpoint={{ . }}
{{- end }}
{{- with .Values.credentials }}
{{- with .source }}
- --credentials-source={{ . }}
{{- end }}
{{- if .allowNodeRole }}
- --allow-node-role
{{- end }}
{{- end }}
{{- with .Values.tenantIdentities.oidcProviderArn }}
- --oidc-provider-arn={{ . }}
{{- end }}
{{- with .Values.leaderElection }}
{{- if .enabled }}
- --lease-duration={{ .leaseDuration }}
- --lease-renew-deadline={{ .renewDeadline }}
- --lease-retry-period={{ .retryPeriod }}
{{- else }}
- --no-leader-election
{{- end }}
{{- end }}
{{- if not .Values.metrics.perResource }}
- --no-resource-metrics
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The environment: what has no flag, and what the sources of credentials read. */}}
{{- define "rds-password-operator.environment" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.sts.region }}
- name: ALIBABA_CLOUD_STS_REGION
  value: {{ . | quote }}
{{- end }}
{{- if eq (.Values.sts.network | default .Values.rds.network) "vpc" }}
- name: ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED
  value: "true"
{{- end }}
{{- with .Values.rrsa }}
{{- if .enabled }}
- name: ALIBABA_CLOUD_ROLE_ARN
  value: {{ .roleArn | quote }}
- name: ALIBABA_CLOUD_OIDC_PROVIDER_ARN
  value: {{ .oidcProviderArn | quote }}
- name: ALIBABA_CLOUD_OIDC_TOKEN_FILE
  value: /var/run/secrets/sts.aliyuncs.com/token
{{- end }}
{{- end }}
{{- with .Values.credentials.accessKeySecret }}
{{- if .name }}
- name: ALIBABA_CLOUD_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .accessKeyIdKey }}
- name: ALIBABA_CLOUD_ACCESS_KEY_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .accessKeySecretKey }}
- name: ALIBABA_CLOUD_SECURITY_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .securityTokenKey }}
      optional: true
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
