# rollout-analyzer with what its sandbox for model-written programs needs.
#
#     docker build -t rollout-analyzer .
#     docker run --rm rollout-analyzer                              # analyzes the bundled sample, prints its summary
#     docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/data" -v analyzer-cache:/cache rollout-analyzer \
#         analyze-rollouts --rollouts rollouts.parquet --model_path tokenizer --output_dir analysis
#
# Rewards for code: add --allow_code_execution. Docker's default profile refuses the namespaces that bubblewrap makes, so
# the sandbox level is landlock there; docs/sandbox.md (Docker) has the options of `docker run` for level strict.
FROM python:3.12-slim AS build

WORKDIR /src
COPY pyproject.toml setup.cfg constraints.txt README.md LICENSE ./
COPY analyzer analyzer
COPY configs configs
COPY examples/sample examples/sample
# Not compiled: the image would hold 240 MB of it, of which a run imports a small part (compiled below).
RUN python -m venv /opt/analyzer \
    && /opt/analyzer/bin/python -m pip install --no-cache-dir --no-compile -c constraints.txt '.[generate,ifeval]'

FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/analyzer /opt/analyzer
ENV PATH=/opt/analyzer/bin:$PATH \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface
# Two runs of the sample compile what runs import, for users who cannot write there, and show that the image works.
RUN python -m analyzer sample /opt/sample && cd /opt/sample \
    && analyze-rollouts --config configs/percentile.yaml --output_dir /tmp/analysis \
    && analyze-rollouts --config configs/percentile.yaml --config configs/rewards/math_verify.yaml --output_dir /tmp/math \
    && rm -rf /tmp/analysis /tmp/math /cache
# Writable by whichever user `docker run -u` names, so that outputs are that user's.
RUN useradd --create-home analyzer && mkdir -p /cache /data && chmod 1777 /cache /data
USER analyzer
WORKDIR /data
CMD ["sh", "-c", "cd /opt/sample && analyze-rollouts --config configs/percentile.yaml --output_dir /tmp/analysis"]
