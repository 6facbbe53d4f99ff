{{- define "holdfast.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "holdfast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "holdfast.secret" -}}
{{ .Values.secrets.existing | default (include "holdfast.name" .) }}
{{- end }}

{{- define "holdfast.roles" -}}
{{- if eq .Values.shape "all" }}["all"]{{ else }}["serve", "work"]{{ end }}
{{- end }}

{{- /* The role that callers are led to. */}}
{{- define "holdfast.front" -}}
{{- if eq .Values.shape "all" }}all{{ else }}serve{{ end }}
{{- end }}

{{- define "holdfast.publicUrl" -}}
{{- if .Values.publicUrl }}{{ .Values.publicUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.tlsSecretName }}https://{{ first .Values.ingress.hosts }}
{{- end }}
{{- end }}

{{- define "holdfast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "holdfast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every process of it is given; a list of variables. */}}
{{- define "holdfast.environment" -}}
- {name: HOLDFAST_DRAIN__GRACE_S, value: {{ .Values.drainSeconds | quote }}}
{{- with include "holdfast.publicUrl" . }}
- {name: HOLDFAST_SERVER__PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.trustedProxies }}
- {name: HOLDFAST_SERVER__TRUSTED_PROXIES, value: {{ join "," . | quote }}}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: HOLDFAST_SERVER__TLS_CERT, value: /etc/holdfast-tls/tls.crt}
- {name: HOLDFAST_SERVER__TLS_KEY, value: /etc/holdfast-tls/tls.key}
{{- else if .Values.serviceMonitor.enabled }}
# Prometheus comes in clear, with an admin's key, over the cluster's own network.
- {name: HOLDFAST_SERVER__ADMIN_ANYWHERE, value: "true"}
{{- end }}
{{- end }}

{{- /* A Deployment of one role. */}}
{{- define "holdfast.deployment" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- $values := index $root.Values $role }}
{{- $isAll := eq $role "all" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "holdfast.name" $root }}-{{ $role }}
  labels:
    {{- include "holdfast.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $role }}
spec:
  {{- if $isAll }}
  replicas: 1
  # One process a data folder: the one before has to be gone.
  strategy: {type: Recreate}
  {{- else }}
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  {{- end }}
  # A pod that drains takes as long as its longest image; the next one is not waited for in vain.
  progressDeadlineSeconds: {{ add $root.Values.drainSeconds 600 }}
  selector:
    matchLabels:
      {{- include "holdfast.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $role }}
  template:
    metadata:
      # Without versions: a label that changes would start new pods where nothing else does.
      labels:
        {{- include "holdfast.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $role }}
      annotations:
        # Read at the start: what has changed there starts new pods.
        checksum/settings: {{ $root.Values.settings | sha256sum }}
        checksum/secrets: {{ $root.Values.secrets | toJson | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "holdfast.name" $root }}
      automountServiceAccountToken: false
      # Else a Service named holdfast sets HOLDFAST_PORT=tcp://…, which is a setting of ours.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds 30 }}
      securityContext:
        {{- include "holdfast.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- if not $isAll }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "holdfast.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $role }}
      {{- end }}
      containers:
        - name: holdfast
          image: {{ include "holdfast.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- if $isAll }}
          args: [serve]
          {{- else }}
          args: [serve, --role, {{ $role }}]
          {{- end }}
          env:
            {{- include "holdfast.environment" $root | nindent 12 }}
          envFrom:
            - secretRef: {name: {{ include "holdfast.secret" $root }}}
          ports:
            - {name: http, containerPort: 16888}
            {{- if $root.Values.tls.secretName }}
            - {name: https, containerPort: 16889}
            {{- end }}
          # What an earlier process left open is settled before it listens.
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            failureThreshold: 150
          # Killing it is dear: an image that is being made may be paid for. A busy loop is not dead.
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          # 503 while it drains, or its disk is full: others take the new work, and it keeps what it has.
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          lifecycle:
            preStop:
              # Balancers learn of its end beside it, not before: it goes on as ever until they have.
              exec: {command: [sleep, "10"]}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "holdfast.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/holdfast}
            - {name: settings, mountPath: /etc/holdfast, readOnly: true}
            {{- if $root.Values.tls.secretName }}
            - {name: tls, mountPath: /etc/holdfast-tls, readOnly: true}
            {{- end }}
      volumes:
        - name: data
          {{- if $isAll }}
          persistentVolumeClaim: {claimName: {{ $values.volume.existingClaim | default (include "holdfast.name" $root) }}}
          {{- else }}
          emptyDir: {sizeLimit: {{ $values.scratch }}}
          {{- end }}
        - name: settings
          configMap: {name: {{ include "holdfast.name" $root }}}
        {{- if $root.Values.tls.secretName }}
        - name: tls
          # A key that others can read is refused by some; fsGroup lets ours.
          secret: {secretName: {{ $root.Values.tls.secretName }}, defaultMode: 0440}
        {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
