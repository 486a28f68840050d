#!/bin/sh
# Builds an exeunt that needs nothing: no C library, no loader, no file beside it. Prints where it is.
#
#     examples/scratch/build.sh [DIRECTORY]      the target directory, default target/static
#
# With musl where rustup has that target, else with glibc, linked in. exeunt asks glibc for nothing that would be loaded later (users,
# groups and host names are read by exeunt itself), so that such a binary is whole.
set -eu
cd "$(dirname "$0")/../.."
directory=${1:-target/static}

installed() { rustc --print target-libdir --target "$1" 2>/dev/null | xargs -r test -d; }
machine=$(uname -m)
target=$machine-unknown-linux-musl
if ! installed "$target"; then
  target=$machine-unknown-linux-gnu
fi

RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --locked --release --target "$target" --target-dir "$directory" >&2
binary=$directory/$target/release/exeunt

# What has a loader is not static, whatever the flags said.
if LC_ALL=C grep -q -a -e '/ld-linux' -e '/ld-musl' "$binary"; then
  echo "$binary is not static" >&2
  exit 1
fi
cp "$binary" "$directory/exeunt"
printf '%s\n' "$directory/exeunt"
