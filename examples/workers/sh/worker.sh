#!/bin/sh
# The smallest correct worker in POSIX sh. It hears the exit event by the end of its items alone, for exeunt closes fd 3 with it.
# Whole items that are in the pipe by then are still done, so leave `prefetch` at 1. Nothing that it starts gets the three
# descriptors, so no forgotten background process holds them open. printf and not echo: many an echo reads backslashes.

work() { printf 'sh did %s' "$1"; }        # its result is one line
cleanup() { echo 'sh cleaned up' >&2; }

trap : PIPE                                # should exeunt be killed, our answer fails, and we still clean up
while IFS= read -r line <&3; do            # fails at the end, and for an item without its line feed
  token=${line%% *} item=${line#* }
  if ! result=$(work "$item" 3<&- 4>&- 5<&-)
  then printf 'retry %s\n' "$token"
  elif [ ${#result} -gt 1000 ]             # characters, which are 4000 bytes at most; a reply has 4096
  then printf 'fail %s a result of %s characters does not fit in a reply\n' "$token" ${#result}
  else printf 'ok %s %s\n' "$token" "$result"
  fi >&4 || break
done
cleanup
