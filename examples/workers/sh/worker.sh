#!/bin/sh
# The smallest correct worker in POSIX sh. Nothing that it starts gets the three descriptors, so no forgotten background
# process holds them open. printf and not echo: many an echo reads backslashes.

work() { printf 'sh did %s' "$1"; }

while IFS= read -r line <&3; do            # fails at the end, and for an item without its line feed
  token=${line%% *} item=${line#* }
  if result=$(work "$item" 3<&- 4>&- 5<&-)
  then printf 'ok %s %s\n' "$token" "$result"
  else printf 'retry %s\n' "$token"
  fi >&4
done
# The exit event closes fd 3 too, so the loop has heard it. Clean up here.
