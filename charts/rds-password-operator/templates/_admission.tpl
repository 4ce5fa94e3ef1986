{{/* Which requests the policies for authors judge: policy-instances.yaml says why these. */}}
{{- define "rds-password-operator.ordersOfAReset" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [rds.password-operator.dev]
      apiVersions: ["*"]
      resources: [databaseaccountpasswords]
      operations: [CREATE, UPDATE]
matchConditions:
  - name: orders-a-reset
    expression: >-
      request.operation == 'CREATE'
      || object.?spec != oldObject.?spec
      || object.metadata.?annotations[?'rds.password-operator.dev/requested-at'].orValue('')
      != oldObject.metadata.?annotations[?'rds.password-operator.dev/requested-at'].orValue('')
{{- end }}
