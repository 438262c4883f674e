# The environment of `make run TORCH=cpu`, and a server of the champion. Build: docker build -t symphony2vec .
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 symphony2vec && install -d -o symphony2vec /symphony2vec
USER symphony2vec
WORKDIR /symphony2vec

# The packages first: a change of the code does not install them again.
COPY --chown=symphony2vec Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=symphony2vec src/symphony2vec/__init__.py src/symphony2vec/
RUN PIP_NO_CACHE_DIR=1 make env TORCH=cpu

COPY --chown=symphony2vec . .
RUN touch .venv/.ready && mkdir -p data out mlruns
ENV PATH=/symphony2vec/.venv/bin:$PATH

EXPOSE 8080
CMD ["symphony2vec", "serve", "--host", "0.0.0.0", "--port", "8080"]
