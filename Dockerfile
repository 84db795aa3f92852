# One image for every process: webserver, daemon, code server, runs, Celery workers, serving. What it does is the command
# it is given; deploy/compose.yaml and deploy/helm/values.yaml give the commands.
#
#   docker build -t butterquant-assets .
#   docker run -p 3000:3000 -v butterquant-home:/home/butterquant/data \
#       -e BUTTERQUANT_PG_HOST=... -e BUTTERQUANT_PG_PORT=5432 -e BUTTERQUANT_PG_USER=... \
#       -e BUTTERQUANT_PG_PASSWORD=... -e BUTTERQUANT_PG_DATABASE=... butterquant-assets

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Dependencies first: these layers change only with the lock file. As in `make install`, torch comes first with what its
# build needs, all else exactly as locked. The default build of torch carries CUDA and weighs gigabytes; give the index of
# PyTorch's CPU wheels as TORCH_INDEX_URL for a small image.
ARG TORCH_INDEX_URL=""
COPY requirements.lock ./
RUN pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} --constraint requirements.lock torch==2.13.0
RUN pip install --no-deps --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sql sql
COPY butterquant_assets butterquant_assets
RUN pip install --no-deps .
# Kept beside the compiled modules, where the image's user may not write: no process has to parse them all again.
RUN cd / && python -m butterquant_assets.foundation.module_source

FROM python:3.11-slim
# OpenMP is what lightgbm and scikit-learn load at run time.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 butterquant
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/butterquant
COPY dagster.yaml workspace.yaml ./
# Dagster writes its compute logs below DAGSTER_HOME, the product everything else below BUTTERQUANT_HOME.
RUN mkdir -p /home/butterquant/data \
    && chown -R butterquant:butterquant /opt/butterquant /home/butterquant/data
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/butterquant \
    DAGSTER_EVENT_BATCH_SIZE=500 \
    BUTTERQUANT_HOME=/home/butterquant/data
USER butterquant
VOLUME /home/butterquant/data
EXPOSE 3000
# Code server and serving.
EXPOSE 4000 8000
# Ask the webserver; containers that run something else switch this off (--no-healthcheck) or bring their own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/server_info', timeout=4)"]
CMD ["dagster-webserver", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]
