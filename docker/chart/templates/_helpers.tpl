{{- define "bulkhead.name" -}}
{{- $name := contains "bulkhead" .Release.Name | ternary .Release.Name (printf "%s-bulkhead" .Release.Name) }}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "bulkhead.selector" -}}
app.kubernetes.io/name: bulkhead
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bulkhead.labels" -}}
{{ include "bulkhead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* An image's reference. Takes (dict "root" $ "image" FIELDS). */}}
{{- define "bulkhead.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "bulkhead.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "bulkhead.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods run, and with whose images. */}}
{{- define "bulkhead.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The environment variable of the router pods' token. Takes a service's fields. */}}
{{- define "bulkhead.routerToken" -}}
{{- (.envoy | default dict).token_variable | default "BULKHEAD_ROUTER_TOKEN" -}}
{{- end -}}

{{/* The namespaces in which services run, each once, as JSON. */}}
{{- define "bulkhead.serving" -}}
{{- $namespaces := list }}
{{- range $name, $service := .Values.config.services }}
{{- $namespaces = append $namespaces (required (printf "config.services.%s.namespace: in a cluster a service has one (docs/serving.md)" $name) $service.namespace) }}
{{- end }}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- define "bulkhead.config" -}}
{{- $monitoring := dict "host" "0.0.0.0" "port" 9464 }}
{{- if .Values.monitoring.tokenSecretName }}{{ $_ := set $monitoring "token_file" "/etc/bulkhead-secrets/metrics/token" }}{{ end }}
{{- range list "home" "ledger_url" "mlflow_tracking_uri" "monitoring" "tasks_image" }}
{{- if hasKey $.Values.config . }}{{ fail (printf "config.%s: the chart sets it; leave it out" .) }}{{ end }}
{{- end }}
{{- $own := dict "home" "/var/lib/bulkhead/home" "mlflow_tracking_uri" .Values.mlflow.trackingUri "monitoring" $monitoring }}
{{- $_ := set $own "tasks_image" (include "bulkhead.image" (dict "root" $ "image" .Values.tasks.image)) }}
{{- mustMerge $own .Values.config | toYaml -}}
{{- end -}}

{{/* One part of the control plane: a Deployment and its ServiceAccount. Takes (dict "root" $ "part" NAME "replicas" N "args" LIST "resources" DICT). */}}
{{- define "bulkhead.part" -}}
{{- $root := .root }}
{{- $name := printf "%s-%s" (include "bulkhead.name" $root) .part }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "bulkhead.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "bulkhead.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
spec:
  replicas: {{ .replicas }}
  selector:
    matchLabels: {{- include "bulkhead.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels: {{- include "bulkhead.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
        {{- with $root.Values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        checksum/config: {{ include "bulkhead.config" $root | sha256sum }}
        {{- with $root.Values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: {{ ne .part "alerts" }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      {{- include "bulkhead.placement" $root | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "bulkhead.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .part }}
      securityContext: {{- include "bulkhead.podSecurity" $root | nindent 8 }}
      containers:
        - name: {{ .part }}
          image: {{ include "bulkhead.image" (dict "root" $root "image" $root.Values.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{- toYaml .args | nindent 12 }}
          env:
            - name: BULKHEAD_CONFIG
              value: /etc/bulkhead/config.yaml
            - name: BULKHEAD_LEDGER_URL
              valueFrom: {secretKeyRef: {name: {{ $root.Values.ledger.secretName }}, key: {{ $root.Values.ledger.secretKey }}}}
            {{- with $root.Values.mlflow.secretName }}
            - name: MLFLOW_TRACKING_USERNAME
              valueFrom: {secretKeyRef: {name: {{ . }}, key: username}}
            - name: MLFLOW_TRACKING_PASSWORD
              valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
            {{- end }}
            {{- if eq .part "reconciler" }}
            {{- with $root.Values.tracing.endpoint }}
            - name: OTEL_EXPORTER_OTLP_ENDPOINT
              value: {{ . | quote }}
            {{- end }}
            {{- $variables := list }}
            {{- range $root.Values.config.services }}
            {{- if hasKey . "envoy" }}{{ $variables = append $variables (include "bulkhead.routerToken" .) }}{{ end }}
            {{- end }}
            {{- range $variables | uniq }}
            - name: {{ . }}
              valueFrom: {secretKeyRef: {name: {{ $root.Values.routers.tokenSecretName }}, key: token}}
            {{- end }}
            {{- end }}
          ports:
            - {name: monitoring, containerPort: 9464}
            {{- if eq .part "alerts" }}
            - {name: alerts, containerPort: 9095}
            {{- end }}
          startupProbe:
            httpGet: {path: /livez, port: monitoring}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: monitoring}
            periodSeconds: 20
            timeoutSeconds: 5
          readinessProbe:
            httpGet: {path: /readyz, port: monitoring}
            periodSeconds: 5
            timeoutSeconds: 5
          resources: {{- toYaml .resources | nindent 12 }}
          securityContext: {{- include "bulkhead.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: config, mountPath: /etc/bulkhead, readOnly: true}
            - {name: home, mountPath: /var/lib/bulkhead}
            - {name: tmp, mountPath: /tmp}
            {{- if $root.Values.monitoring.tokenSecretName }}
            - {name: metrics-token, mountPath: /etc/bulkhead-secrets/metrics, readOnly: true}
            {{- end }}
            {{- if eq .part "alerts" }}
            - {name: alerts-token, mountPath: /etc/bulkhead-secrets/alerts, readOnly: true}
            {{- end }}
      volumes:
        - name: config
          configMap: {name: {{ include "bulkhead.name" $root }}}
        - name: home
          emptyDir: {sizeLimit: 1Gi}
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
        {{- with $root.Values.monitoring.tokenSecretName }}
        - name: metrics-token
          secret: {secretName: {{ . }}, items: [{key: token, path: token}], defaultMode: 0440}
        {{- end }}
        {{- if eq .part "alerts" }}
        - name: alerts-token
          secret: {secretName: {{ $root.Values.alerts.tokenSecretName }}, items: [{key: token, path: token}], defaultMode: 0440}
        {{- end }}
{{- end -}}

{{/* A Role in a namespace and its binding. Takes (dict "root" $ "what" NAME "namespace" NAME "rules" YAML "subjects" LIST). */}}
{{- define "bulkhead.role" -}}
{{- $name := printf "%s-%s" (include "bulkhead.name" .root) .what }}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ .namespace }}
  labels: {{- include "bulkhead.labels" .root | nindent 4 }}
rules: {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ .namespace }}
  labels: {{- include "bulkhead.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects: {{- toYaml .subjects | nindent 2 }}
{{- end -}}
