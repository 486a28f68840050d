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

binary=$directory/$target/release/exeunt

built() {
  RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static $*" \
    cargo build --locked --release --target "$target" --target-dir "$directory" >&2
}

# Less memory: what runs in every run stands together (order.py), and relocations are written short. Where the linker does not know
# the one, or the C library not the other (glibc before 2.36), it is done without.
tight="-C link-arg=-Wl,-T,examples/scratch/order.ld -C link-arg=-Wl,-z,pack-relative-relocs"
if ! built "$tight" || ! "$binary" --version >/dev/null; then
  echo "trying without an order and with long relocations" >&2
  built
fi

# What has a loader is not static, whatever the flags said.
if LC_ALL=C grep -q -a -e '/ld-linux' -e '/ld-musl' "$binary"; then
  echo "$binary is not static" >&2
  exit 1
fi
cp "$binary" "$directory/exeunt"
printf '%s\n' "$directory/exeunt"
