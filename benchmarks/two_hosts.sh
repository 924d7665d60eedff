#!/usr/bin/env bash
# Two hosts train one model, simulated on one machine by two network namespaces with an address each.
# Needs root and ip.
#
#     sudo benchmarks/two_hosts.sh --train_set_path=... --test_set_path=... --model_output_dir=... --feature_dict=... ...
#
# The arguments are those of train.py. On real hosts run the same command on each, without
# `ip netns exec`.
# PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
logs=$(mktemp -d)
for host in a b; do ip netns add "clicks-$host"; done
trap 'for host in a b; do ip netns del "clicks-$host"; done; rm -r "$logs"' EXIT
ip link add clicks-a netns clicks-a type veth peer name clicks-b netns clicks-b
for host in a b; do
    ip -n "clicks-$host" address add "10.77.0.$([ $host = a ] && echo 1 || echo 2)/24" dev "clicks-$host"
    ip -n "clicks-$host" link set "clicks-$host" up
    ip -n "clicks-$host" link set lo up
done
launch() {
    host=$1 address=$2; shift 2
    GLOO_SOCKET_IFNAME="clicks-$host" ip netns exec "clicks-$host" "$python" -m paddle.distributed.launch --master=10.77.0.1:49179 --nnodes=2 \
        --host="$address" --nproc_per_node=1 --log_dir="$logs/$host" train.py --device=cpu "$@"
}
launch b 10.77.0.2 "$@" > "$logs/b.out" 2>&1 &
launch a 10.77.0.1 "$@" || { tail -n 5 "$logs/b.out" >&2; exit 1; }
wait
