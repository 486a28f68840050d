# Says who it is and what it may use.
echo "$EXEUNT_INSTANCE: $1; user $(id -u), groups $(id -G), umask $(umask), files $(ulimit -Sn) of $(ulimit -Hn)," \
  "nice $(nice), token of ${#TOKEN} letters, ${COLOUR:-no colour}, ${PORT_NAME:-no port}"
