#!/bin/sh
# One script for every Celery task of this repository; written by `offbeat init`.
#
#   cron/hourly/search_dates -> ../tasks/run_celery_task
#                       a link schedules the task of that name. Executed, by run-parts or by hand, it sends the task
#                       for this hour (day, week, ...), unless that was done already
#   run_celery_task search_dates
#                       sends the task now, as `offbeat fire` does, whose options may follow
#
# offbeat is looked for in $OFFBEAT_BIN, OpenShift's virtenv, .venv or venv at the repository's root, then PATH.

set -u

PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH

fail() {
    printf '%s: %s\n' "${0##*/}" "$2" >&2
    exit "$1"
}

# The folder of a path, as an absolute path. Not in a subshell of its own, so that odd names survive.
folder_of() {
    case $1 in
        */*) folder=${1%/*} ;;
        *) folder=. ;;
    esac
    folder=$(CDPATH='' cd -- "${folder:-/}" && pwd) || fail 1 "cannot enter $folder"
}

# Follow the links, one at a time, to the first one that lies in a tree.
find_tree() {
    path=$1
    while :; do
        folder_of "$path"
        directory=${folder##*/}
        tree=${folder%/*}
        case $directory in
            tasks | minutely | hourly | daily | weekly | monthly) return ;;
        esac
        [ -L "$path" ] || fail 2 "$1 is not in a cron tree, and links to none"
        target=$(readlink -- "$path") || fail 1 "cannot read the link $path"
        case $target in
            /*) path=$target ;;
            *) path=$folder/$target ;;
        esac
    done
}

find_offbeat() {
    if [ -n "${OFFBEAT_BIN:-}" ]; then
        [ -x "$OFFBEAT_BIN" ] || fail 1 "OFFBEAT_BIN is $OFFBEAT_BIN, which cannot be executed"
        offbeat=$OFFBEAT_BIN
        return
    fi
    for venv in \
        ${OPENSHIFT_APP_DIR:+"$OPENSHIFT_APP_DIR/virtenv"} \
        ${OPENSHIFT_PYTHON_DIR:+"$OPENSHIFT_PYTHON_DIR/virtenv"} \
        "$root/.venv" "$root/venv"; do
        offbeat=$venv/bin/offbeat
        [ -x "$offbeat" ] && return
    done
    offbeat=$(command -v offbeat) ||
        fail 1 "offbeat was not found: install offbeat into $root/.venv, or set OFFBEAT_BIN to its path"
}

self=$0
case $self in
    */*) ;;
    *) [ -e "$self" ] || self=$(command -v -- "$self") || fail 1 "cannot tell where I am" ;;
esac
name=${self##*/}

find_tree "$self"
root=${tree%/*}
[ "${root##*/}" = .openshift ] && root=${root%/*}

if [ "$#" -eq 0 ] && [ "$name" = run_celery_task ]; then
    printf '%s\n' \
        "usage: run_celery_task NAME [OPTIONS]     send the task NAME now" \
        "       ln -s ../tasks/run_celery_task $tree/hourly/NAME     send it every hour" >&2
    exit 2
fi

find_offbeat
if [ "$#" -gt 0 ]; then
    exec "$offbeat" --tree "$tree" fire "$@"
elif [ "$directory" = tasks ] || [ "$path" != "$self" ]; then
    exec "$offbeat" --tree "$tree" fire "$name" --unlisted
else
    exec "$offbeat" --tree "$tree" slot "$directory/$name"
fi
