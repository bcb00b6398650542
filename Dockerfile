# One image for every role of every service:
#
#   python -m users_service api | worker | outcome-worker | migrate      (and so on for every service)
#   python -m celery_config.monitor      (Flower)
#
# Everything is put together in the first stage; the second has no pip cache, no build tools, and nothing that the user
# it runs as could write to, beside an empty folder for Flower's volume.

FROM python:3.12-slim AS build
# Before the code, so that a change of the code installs nothing. Wheels only: there is no compiler, nor is one wanted.
COPY requirements-services.txt /
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --disable-pip-version-check --no-cache-dir --no-compile \
        --root-user-action=ignore --only-binary=:all: -r /requirements-services.txt \
 && python -m compileall -q --invalidation-mode unchecked-hash /venv
# What .dockerignore lets in. Readable for all, however private the clone is; compiled, as nothing can be at run time.
COPY . /shop
RUN pip --python /venv/bin/python install --disable-pip-version-check --no-cache-dir --root-user-action=ignore \
        --no-deps /shop/engine && rm -r /shop/engine
RUN chmod -R a+rX /shop && /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /shop /venv/lib

FROM python:3.12-slim
# The base image brings the standard library uncompiled. Compiled once here, it is not compiled by every process at every
# start: a file system that is read-only would never keep it.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|ensurepip|idlelib|lib2to3|test)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && groupadd --system --gid 10001 shop \
 && useradd --system --uid 10001 --gid shop --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin shop \
 && install -d -m 0700 -o shop -g shop /data
# /data is where Flower's volume goes: a new one takes this folder's owner.
COPY --from=build /venv /venv
COPY --from=build /shop /shop
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /shop
USER 10001:10001
CMD ["python", "-m", "users_service", "api"]
