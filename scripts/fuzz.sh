#!/bin/sh
# Runs every fuzz target for the given number of seconds (default 600), one after
# another. What a target finds is left in fuzz/artifacts/.
#
# Needs a nightly toolchain (for the coverage instrumentation) and cargo-fuzz,
# which is built once into target/tools.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
cargo=${CARGO:-cargo}
tools=$PWD/target/tools

if ! rustup run nightly cargo --version >/dev/null 2>&1; then
    echo 'fuzz: needs the nightly toolchain: rustup toolchain install nightly' >&2
    exit 1
fi
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
    echo 'fuzz: building cargo-fuzz into target/tools (once)' >&2
    "$cargo" install --locked --root "$tools" --target-dir "$tools/build" cargo-fuzz
fi
PATH=$tools/bin:$PATH
export PATH

targets=$(rustup run nightly cargo fuzz list)
[ -n "$targets" ] || { echo 'fuzz: there are no targets in fuzz/' >&2; exit 1; }
for target in $targets; do
    echo "== $target for $seconds s"
    rustup run nightly cargo fuzz run "$target" -- -max_total_time="$seconds" -print_final_stats=1
done
