{{/* Which writes the policies for authors judge: a create, or an update of anything in the spec or of the annotation
rds.password-operator.dev/requested-at. Whole specs are compared, because every field in them steers what is reset with
which value. Deletion and edits of other metadata pass, and so do the operator's writes of the status, which are requests
for another resource (databaseaccountpasswords/status). Fields are read as optional ones (`.?`): where one is absent, plain
access is an error, which would refuse the edit. */}}
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
