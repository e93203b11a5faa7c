# Imprimatur in a container: its own virtual environment, an unprivileged user, every Python package pinned by its hash.
#
#   docker build -t imprimatur .
#
# The base image is named by its tag, which its publisher moves with each security update. For an image that can be made
# again bit by bit, give the digest that the tag has now:
#
#   docker build --build-arg PYTHON=$(docker buildx imagetools inspect python:3.13-slim-trixie \
#       --format '{{.Name}}@{{.Manifest.Digest}}') -t imprimatur .
#
#   docker run -p 587:587 -p 465:465 -p 127.0.0.1:8025:8025 -v imprimatur:/var/lib/imprimatur imprimatur
#
# Your own configuration goes over /etc/imprimatur/mta.toml.
#
# Everything that changes is under /var/lib/imprimatur (the embedded database too, where no database.url is given) and
# /tmp; the rest may be read-only. SIGTERM ends the service in order: give it server.shutdown_grace (30 s) and a little.

ARG PYTHON=python:3.13-slim-trixie

FROM $PYTHON AS build
WORKDIR /src
RUN python -m venv /opt/mta
COPY requirements.lock ./
RUN /opt/mta/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
# The build backend, in the version the lock pins, stays in this stage.
COPY requirements-dev.lock pyproject.toml README.md ./
RUN awk '/^setuptools==/,!/\\$/' requirements-dev.lock > backend.lock \
 && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --require-hashes -r backend.lock
COPY config config
COPY policy policy
COPY bounce bounce
COPY mta mta
COPY docs/mta.1 docs/mta.1
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir wheels . \
 && /opt/mta/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps wheels/*.whl \
 && /opt/mta/bin/pip uninstall --yes --disable-pip-version-check pip \
 && /opt/mta/bin/python -m compileall -q /opt/mta/lib

FROM $PYTHON
RUN useradd --system --uid 10001 --home-dir /var/lib/imprimatur --shell /usr/sbin/nologin imprimatur \
 && install -d -o imprimatur -g imprimatur -m 0750 /var/lib/imprimatur \
 && install -d /etc/imprimatur
COPY --from=build /opt/mta /opt/mta
ENV PATH=/opt/mta/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    MTA_CONFIG=/etc/imprimatur/mta.toml
COPY config/defaults/container.toml /etc/imprimatur/mta.toml
USER 10001
WORKDIR /var/lib/imprimatur
VOLUME /var/lib/imprimatur
EXPOSE 25 465 587 8025 8026
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8025/readyz', timeout=9)"]
ENTRYPOINT ["mta"]
CMD ["serve"]
