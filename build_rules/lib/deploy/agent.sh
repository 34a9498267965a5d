#!/bin/sh
# The part of a deploy that runs on a host. POSIX sh; dash, busybox and bash run it.
#
# A coordinator sends this text over an ssh session and then one line for each step, and reads one
# line back; both are JSON of plain strings. What must not stop half-way runs to its end without the
# session: `switch` alone changes what is served, and whoever finds `doing` left behind, a second
# process that waits for the lock, the next boot or the next deploy, completes it or goes back.
#
#   releases/<id>/  current -> releases/<id>  shared/  .slipway/{lock,doing,config,journal,...}

# What a shell takes from its environment must not change what this script does.
unset -v CDPATH ENV BASH_ENV
export LC_ALL=C PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
umask 022 && set -u

BY_HAND=00000000T000000Z-by-hand
SILENT=6 # seconds without a line after which the session is taken for lost

# say KIND [KEY TEXT]...: a line for the coordinator, which may be gone; no control characters.
say() {
  said="{\"say\":\"$1\""
  shift
  while [ $# -ge 2 ]; do
    said="$said,\"$1\":\"$(printf '%s' "$2" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')\""
    shift 2
  done
  printf '%s}\n' "$said" >&4 2>/dev/null || :
}

# The text of a key in the line that came; lines hold neither backslashes nor quotes in texts.
field() {
  rest=${line#*"\"$1\":\""}
  [ "$rest" = "$line" ] || printf '%s' "${rest%%\"*}"
}

# A full disk must not change what is done.
note() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$own/journal" || :
}

# The release that is linked, or nothing.
linked() {
  [ ! -L "$top/current" ] || basename "$(readlink "$top/current")"
}

# A setting of the deployment, kept for whoever completes a switch without the coordinator.
setting() {
  sed -n "s/^$1=//p" "$own/config" 2>/dev/null
}

# The folder of a release; "." is that of a deploy by hand, which lies where the releases should.
place() {
  if [ "$1" = . ]; then echo "$top"; else echo "$top/releases/$1"; fi
}

# Where the link is gone: what something runs from.
served() {
  for folder in "$top"/releases/*/; do
    [ -z "$(processes_of "$(basename "$folder")")" ] || basename "$folder"
  done | tail -n 1
}

# Process ids of all that runs from a release: by its own Node, or where it has none, in its folder.
processes_of() {
  found="exe $(place "$1")/node_runtime/"
  [ -x "${found#* }bin/node" ] || found="cwd $(place "$1")\$"
  # shellcheck disable=SC2012  # the names in /proc are numbers
  ls -l /proc/[0-9]*/"${found%% *}" 2>/dev/null |
    sed -n "s|.* /proc/\([0-9]*\)/[a-z]* -> ${found#* }.*|\1|p"
}

# apart SECONDS COMMAND...: a command without the lock and the session, which may outlive this one.
apart() {
  exec 3<&- 4>&- 9>&- </dev/null >>"$own/service.log" 2>&1
  # shellcheck disable=SC2016  # for the inner shell
  timeout -k 5 "$1" sh -c 'echo $$ >"$0"; shift; exec "$@"' "$own/running" "$@"
}

# script ID NAME: runs a script of the release's package.json.
script() (
  cd "$(place "$1")" || exit 1
  SERVER_ENV=$(setting server_env) && export SERVER_ENV
  if [ -x bin/app ]; then program=bin/app; else program='npm run --silent'; fi
  # shellcheck disable=SC2086  # words
  apart "$(setting "$2"_timeout)" $program "$2"
)

# Its own script first, then signals to what is left of it.
# shellcheck disable=SC2086  # process ids
stop() {
  script "$1" stop || note "stop $1: its script failed"
  for signal in TERM KILL; do
    left=$(processes_of "$1")
    [ -n "$left" ] || return 0
    note "stop $1: $signal to" $left && kill -s "$signal" $left 2>/dev/null
    for _ in 1 2 3 4 5; do [ -z "$(processes_of "$1")" ] || sleep 1; done
  done
  [ -z "$(processes_of "$1")" ]
}

# One look at its health, by address or by script.
looks_healthy() {
  url=$(setting health_url)
  [ -n "$url" ] || { script "$1" health; return; }
  get='require("http").get(process.argv[1],r=>process.exit(r.statusCode<400?0:1)).on("error",()=>process.exit(1))'
  node=$(place "$1")/node_runtime/bin/node
  [ -x "$node" ] || node=node
  (apart "$(setting health_timeout)" "$node" -e "$get" "$url")
}

# Healthy within the tries, and still so after it was left alone for a while.
is_healthy() {
  tries=$(setting health_retries)
  until looks_healthy "$1"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && sleep "$(setting health_interval)" || return 1
  done
  sleep "$(setting health_hold)" && looks_healthy "$1"
}

# The way to a release and the one back lie ready before anything stops: a full disk takes no links.
make_links() {
  for id in "$@"; do ln -sfn "releases/$id" "$own/link-$id" || return 1; done
}

link() {
  # -T: never into the folder that the old link leads to.
  [ "$(linked)" = "$1" ] ||
    { { [ -L "$own/link-$1" ] || make_links "$1"; } && mv -T "$own/link-$1" "$top/current"; }
}

# Starts a release unless it is healthy already.
bring_up() {
  { [ -n "$(processes_of "$1")" ] && looks_healthy "$1"; } || { script "$1" start && is_healthy "$1"; }
}

# Puts its input into a file at once, or not at all.
write() {
  cat >"$1.new" && mv "$1.new" "$1" && sync
}

hook() {
  command=$(setting "$1") && [ -n "$command" ] || return 0
  note "$1: begin"
  (cd "$(place "$2")" && apart "$(setting hook_timeout)" sh -c "$command") || return 1
  note "$1: end"
}

go_back() {
  note "back from $2 to ${1:-nothing}: begin"
  [ "$(linked)" != "$2" ] || stop "$2" || note "stop $2: something of it is left"
  rm -f "$own/healthy/$2"
  # Half of what was deployed by hand may be moved yet.
  [ "$1" != "$BY_HAND" ] || adopt "$1" || return 1
  ended="NOT healthy"
  if [ -z "$1" ]; then
    rm -f "$top/current"
  elif link "$1" && bring_up "$1"; then
    ended=healthy
  fi
  mv "$own/doing" "$own/failed/$2"
  rm -f "$own"/link-*
  note "back to ${1:-nothing}: end, $ended"
}

settle() {
  [ -z "$leaving" ] || echo left >>"$own/healthy/$leaving"
  # The coordinator's time: rollbacks go by it, and the clocks of hosts may differ.
  setting at | write "$own/healthy/$1" || mv "$own/doing" "$own/healthy/$1"
  rm -f "$own/failed/$1" "$own/doing" "$own"/link-*
  note "switch to $1: end, healthy"
}

# The plain folder of a deploy by hand becomes a release of its own.
adopt() {
  mkdir -p "$top/releases/$1" || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    case ${entry##*/} in
    releases | current | shared | .slipway | '*' | '.[!.]*') ;;
    *) mv "$entry" "$top/releases/$1/" || return 1 ;;
    esac
  done
}

# switch NEW: 0 if it is served and healthy; otherwise `failure` says why, and what was before is
# served again where there was something.
switch() {
  old=$(linked) by_hand='' failure="what is under way cannot be noted"
  [ -n "$old" ] || old=$(served)
  [ -n "$old" ] || [ ! -f "$top/package.json" ] || old=$BY_HAND by_hand=yes
  guard
  if ! make_links "$1" ${old:+"$old"} || ! printf 'old=%s\nnew=%s\n' "$old" "$1" | write "$own/doing"; then
    rm -f "$own"/link-* && return 1
  fi
  note "switch from ${old:-nothing} to $1: begin, $(setting by)"
  if ! hook before_switch "$1"; then
    failure="the hook before_switch failed"
  elif [ -n "$by_hand" ] && ! { stop . && adopt "$old"; }; then
    failure="what was deployed by hand does not stop"
  elif [ -z "$by_hand" ] && [ -n "$old" ] && ! stop "$old"; then
    failure="the old release does not stop"
  elif note "stopped ${old:-nothing}" && ! link "$1"; then
    failure="the link cannot be renamed"
  elif note "linked $1" && ! script "$1" start; then
    failure="it does not start"
  elif note "started $1" && ! is_healthy "$1"; then
    failure="it is not healthy"
  elif ! hook after_switch "$1"; then
    failure="the hook after_switch failed"
  else
    settle "$1"
    return 0
  fi
  note "switch to $1: $failure"
  go_back "$old" "$1"
  return 1
}

# Completes what a switch left half-way; the lock is held.
recover() {
  [ -f "$own/doing" ] || return 0
  guard
  # What the other one had started ends by its own time limit; later, its number is another's.
  left=$(($(setting hook_timeout) + $(setting start_timeout) + $(setting stop_timeout)))
  while [ "$left" -gt 0 ] && kill -0 "$(cat "$own/running" 2>/dev/null)" 2>/dev/null; do
    left=$((left - 1)) && sleep 1
  done
  old=$(sed -n 's/^old=//p' "$own/doing")
  new=$(sed -n 's/^new=//p' "$own/doing")
  note "recover: a switch from ${old:-nothing} to $new was left"
  if [ "$(linked)" = "$new" ] && bring_up "$new"; then settle "$new"; else go_back "$old" "$new"; fi
}

# A process that completes what this one leaves `doing` when it is killed: the lock is free then.
guard() {
  command -v flock >/dev/null 2>&1 || return 0
  (trap '' HUP INT TERM && exec sh "$own/agent" "$top" recover) \
    </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# hold SECONDS: waits that long for the lock; 1 if another one has it.
hold() {
  left=$1
  until locked; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1)) && sleep 1
  done && holding=yes
  printf '%s, since %s\n' "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$own/holder" || :
}

locked() {
  if command -v flock >/dev/null 2>&1; then
    command exec 9>>"$own/lock" && flock -n 9
  elif ! ln -s "$$" "$own/lock.pid" 2>/dev/null; then
    # Whoever made it may be gone.
    kill -0 "$(readlink "$own/lock.pid")" 2>/dev/null && return 1
    rm -f "$own/lock.pid" && ln -s "$$" "$own/lock.pid" 2>/dev/null
  fi
}

release() {
  rm -f "$own/holder" "$own/lock.pid" && exec 9>&-
}

# What the host has: for the plan, and for `releases`.
do_look() {
  near=$top # or the nearest folder above it that is there
  while [ ! -d "$near" ]; do near=$(dirname "$near"); done
  say host user "$(id -un)" machine "$(uname -m)" linked "$(linked)" \
    zstd "$(command -v zstd)" in_the_way "$([ -L "$top/current" ] || ls -d "$top/current" 2>/dev/null)" \
    libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)" \
    free_kb "$(df -Pk "$near" | awk 'NR == 2 { print $4 }')" \
    free_inodes "$(df -Pi "$near" | awk 'NR == 2 && $2 > 0 { print $4 }')" \
    writable "$([ -w "$near" ] && echo yes)"
  for folder in "$top"/releases/*/; do
    [ -d "$folder" ] || continue
    id=$(basename "$folder")
    say release id "$id" healthy "$(cat "$own/healthy/$id" 2>/dev/null)" \
      failed "$([ -e "$own/failed/$id" ] && echo yes)" facts "$(cat "$own/facts/$id" 2>/dev/null)" \
      running "$(processes_of "$id" | tr '\n' ' ')" \
      lists "$(cd "$folder/.release" 2>/dev/null && sha256sum -- *.sha256 | tr '\n' ' ')"
  done
  say ok
}

# Takes the lock; who has it is told.
do_begin() {
  by=$(field by)
  mkdir -p "$own/healthy" "$own/failed" "$own/facts" "$own/incoming" "$top/releases" ||
    { say error text "folders cannot be made in $top" && return; }
  hold 2 || { say locked holder "$(cat "$own/holder" 2>/dev/null)" && return; }
  recover
  say ok
}

# The settings of the deployment and this text: for whoever completes a switch.
do_configure() {
  take "$own/incoming/config" || return
  head -n "$(field lines)" "$own/incoming/config" | write "$own/config"
  tail -n "+$(($(field lines) + 1))" "$own/incoming/config" | write "$own/agent"
  say ok
}

# arrive N FILE: adds the next bytes of the session to a file; that they stop coming is noticed.
arrive() {
  rm -f "$way/busy"
  head -c "$1" >>"$2" || exec </dev/null # what is left of it could be taken for a line
  true >"$way/busy"
}

# take FILE: as many bytes of the session as the line says, with their hash.
take() {
  rm -f "$1"
  arrive "$(field size)" "$1"
  is_whole "$1" || { say error text "other bytes came than were sent, or there is no room" && return 1; }
}

is_whole() {
  [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$(field sha256)" ]
}

# The lists of a release that are asked for, and its executable files, as one compressed text.
do_lists() {
  (cd "$top/releases/$(field base)" && {
    for name in $(field lists | tr ',' ' '); do cat ".release/$name.sha256"; done
    find . -type f -perm -100 -print | sed 's|^\./|x |'
  }) | gzip -c >"$way/lists"
  say bytes size "$(wc -c <"$way/lists" | tr -d ' ')"
  cat "$way/lists" >&4
}

# The copy of a release, less the files that are named and all links; or an empty folder.
do_stage() {
  staged=$own/staged base=$(field base)
  take "$own/incoming/removed" || return
  rm -rf "$staged"
  if [ -z "$base" ]; then mkdir "$staged"; else
    # Files that nobody can write are shared with that release; root can write all.
    { [ "$(id -u)" != 0 ] && cp -al "$top/releases/$base" "$staged" 2>/dev/null; } ||
      { rm -rf "$staged" && cp -a "$top/releases/$base" "$staged"; } && rm -rf "$staged/.release" &&
      find "$staged" -type l -exec rm -f {} + &&
      gzip -dc "$own/incoming/removed" | (cd "$staged" && tr '\n' '\0' | xargs -0 rm -f --)
  fi || { say error text "the release $base cannot be copied" && return; }
  say ok
}

# How much of an archive is here already, from a session that was lost.
do_offer() {
  part=$own/incoming/$(field sha256)
  find "$own/incoming" -type f ! -path "$part" -exec rm -f {} +
  say ok offset "$(wc -c <"$part" 2>/dev/null | tr -d ' ')"
}

# The rest of the archive, unpacked into the staged release, which is then held against its lists.
do_receive() {
  part=$own/incoming/$(field sha256)
  arrive "$(field rest)" "$part"
  is_whole "$part" || {
    [ "$(wc -c <"$part")" -lt "$(field size)" ] || rm -f "$part"
    say error text "the archive that came is another than was sent, or there is no room" && return
  }
  "$(field packed)" -dc <"$part" | tar -xf - -C "$own/staged" || { say error text "tar failed" && return; }
  rm -f "$part"
  find "$own/staged" -type f -exec chmod a-w {} +
  # What the lists name, whole, and nothing else.
  damaged=$(changed "$own/staged" && cd "$own/staged" &&
    cat .release/*.sha256 | sed 's/^[0-9a-f]*  //' | sort >"$way/names" &&
    find . -type f ! -path './.release/*' ! -path ./release.json -print | sed 's|^\./||' | sort |
    comm -3 - "$way/names" | tr -d '\t' | head -n 3)
  [ -z "$damaged" ] || { say damaged files "$damaged" && return; }
  # Paths that outlive releases.
  for path in $(setting shared); do
    mkdir -p "$top/shared/$path" "$(dirname "$own/staged/$path")"
    ln -s "$(printf '%s/' "$path" | sed 's|[^/]*/|../|g')../shared/$path" "$own/staged/$path"
  done
  { printf '%s' "$(field facts)" | write "$own/facts/$(field id)" &&
    mv -T "$own/staged" "$top/releases/$(field id)"; } || { say error text "there is no room" && return; }
  sync && note "staged $(field id)" && say ok
}

# Files of a release that are not as its lists say, the first of them.
changed() (
  cd "$1" && cat .release/*.sha256 2>/dev/null | sha256sum -c 2>/dev/null |
    sed -n 's/: FAILED.*//p' | head -n 3
)

# Whether a release that is kept is still what it was: the files of it that are not.
do_verify() {
  say ok files "$(changed "$top/releases/$(field id)")"
}

do_switch() {
  new=$(field id) leaving=$(field leaving)
  [ -d "$top/releases/$new" ] || { say error text "the release $new is not there" && return; }
  if { [ "$(linked)" = "$new" ] && bring_up "$new" && settle "$new"; } || switch "$new"; then
    say ok
  else
    say failed text "$failure" linked "$(linked)" log "$(tail -n 5 "$own/service.log")" \
      healthy "$([ -n "$(linked)" ] && looks_healthy "$(linked)" && echo yes)"
  fi
}

# Keeps the newest, what is served, and what something still runs from; failed ones go first.
do_prune() {
  kept=0
  for folder in $(cd "$top/releases" && printf '%s\n' * | sort -r); do
    if [ "$folder" = "$(linked)" ] || [ -n "$(processes_of "$folder")" ]; then continue; fi
    if [ -e "$own/healthy/$folder" ] || [ "$folder" = "$BY_HAND" ]; then
      kept=$((kept + 1))
      [ "$kept" -lt "$(field keep)" ] && continue
    fi
    rm -rf "$top/releases/$folder"
    rm -f "$own/healthy/$folder" "$own/failed/$folder" "$own/facts/$folder"
  done
  say ok
}

# Has systemd bring the release up.
enable_unit() {
  name=slipway$(printf '%s' "$top" | tr -c 'A-Za-z0-9' -).service
  printf '%s\n' "[Unit]" "Description=The release of $top" "After=network-online.target" \
    "Wants=network-online.target" "[Service]" "Type=oneshot" "RemainAfterExit=yes" "KillMode=process" \
    "ExecStart=/bin/sh $own/agent $top boot" "[Install]" "WantedBy=multi-user.target" |
    write "/etc/systemd/system/$name" && systemctl enable "$name"
}

# What brings the release up after a reboot: systemd for root, else cron; said is which, or nothing.
do_boot() {
  entry="@reboot sh $own/agent $top boot" how=''
  if [ "$(field boot)" = off ]; then
    how=off
  elif [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    enable_unit && how=systemd
  elif command -v crontab >/dev/null 2>&1; then
    crontab -l 2>/dev/null | grep -Fqx "$entry" || { crontab -l 2>/dev/null; echo "$entry"; } | crontab -
    crontab -l | grep -Fqx "$entry" && how=cron
  fi
  say ok boot "$how"
}

# Reads through a process that can be ended when nothing comes any more: a partition says nothing.
serve() {
  trap '' HUP PIPE
  # Only lines for the coordinator go to the session, and it ends with this process.
  exec 3<&0 4>&1 >/dev/null
  way=$(mktemp -d) && mkfifo "$way/in" && true >"$way/count" || exit 1
  cat <&3 >"$way/in" 4>&- &
  relay=$!
  exec 0<"$way/in" 3<&-
  watch & watcher=$!
  while IFS= read -r line; do
    echo . >>"$way/count"
    step=$(field "do")
    case $step in
    beat) continue ;;
    end) break ;;
    esac
    true >"$way/busy"
    "do_$step"
    rm -f "$way/busy"
  done
  # Whatever was not finished is no release; parts of an archive are of use to the next session.
  [ -z "$holding" ] || { rm -rf "$own/staged" && release; }
  kill "$relay" "$watcher" 2>/dev/null
  rm -rf "$way"
}

watch() {
  exec 4>&- 9>&- </dev/null 2>/dev/null
  last='' silent=0
  while kill -0 "$relay"; do
    kill -0 "$$" || kill "$relay"
    sleep 1
    now="$(wc -c <"$way/count" 2>/dev/null) $(ls -l "$own/incoming" 2>/dev/null)"
    if [ "$now" != "$last" ] || [ -e "$way/busy" ]; then silent=0; else silent=$((silent + 1)); fi
    last=$now
    [ "$silent" -lt "$SILENT" ] || kill "$relay"
  done
  rm -rf "$way"
}

# agent TOP serve|recover|boot
main() {
  top=$1
  if [ -d "$top" ]; then top=$(cd -- "$top" && pwd -P); fi
  own=$top/.slipway
  by=recovery failure='' holding='' leaving=''
  case $2 in
  serve) serve ;;
  recover) hold 86400 && recover && release ;;
  boot)
    hold 60 || exit 1
    rm -f "$own/running" && recover
    [ -z "$(linked)" ] || bring_up "$(linked)" || note "boot: $(linked) is NOT healthy"
    release
    ;;
  esac
}

main "$@"
