# syntax=docker/dockerfile:1
# holdfast in a container: docker build --tag holdfast . How it is run: docs/how-to/run-in-a-container.md.
# Python and Debian are those that every check runs with; so are the versions of everything else, by constraints.txt.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS dependencies
# Extras of pyproject.toml: PostgreSQL, images in S3 and its like, other file formats than the upstream makes.
ARG EXTRAS=postgres,s3,convert
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
# A package without a line of code brings what the real one needs, so that this layer, nearly all of the image, is made
# and fetched anew only when that changes. The environment is without pip: nothing is installed where it runs.
RUN mkdir -p src/holdfast \
    && touch src/holdfast/__init__.py \
    && python -m venv --without-pip /opt/holdfast \
    && python -m pip --python /opt/holdfast/bin/python install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]" \
    && python -m pip --python /opt/holdfast/bin/python uninstall --yes holdfast

FROM dependencies AS program
COPY src src
RUN python -m pip --python /opt/holdfast/bin/python install --no-cache-dir --no-deps --prefix /program .

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="The gateway that never drops a slow image." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=dependencies /opt/holdfast /opt/holdfast
COPY --from=program /program /opt/holdfast
# Whom it runs as is a number: a cluster that demands another than root cannot know what a name means.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/holdfast \
    && install --directory --mode=0755 /etc/holdfast
# Settings that are mounted as /etc/holdfast/holdfast.toml are found, since that is where it starts.
WORKDIR /etc/holdfast
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOLDFAST_DATA=/var/lib/holdfast \
    HOLDFAST_SERVER__HOST=0.0.0.0
USER 10001:10001
# The only place that it writes to: the rest may be read-only, /tmp too.
VOLUME /var/lib/holdfast
EXPOSE 16888 16889
# SIGTERM: it waits for the images that are held, drain.grace_s at most; stop it with 330 s of patience.
STOPSIGNAL SIGTERM
# Whether the process lives, not whether it takes new work: nobody shall end it because its disk is full.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('HOLDFAST_PORT', '16888')), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["holdfast"]
CMD ["serve"]
