#!/bin/sh
# Reports of more than a year ago. A plain command: no Celery in it.
set -eu
cd "$(dirname "$0")/../.."
reports=${DIFIO_VAR:-var}/reports
[ -d "$reports" ] || exit 0
find "$reports" -name '*.txt' -mtime +366 -print -delete
