# Runs one script of a release as a host with this userland would: its own tar, gzip and sh alone.
set -eu
mkdir release
gzip -dc /build/in/release/*.tar.gz | (cd release && tar xf -)
# The release's own launcher, but for the environment file, which only real hosts have.
cp /build/in/app release/bin/app
chmod 755 release/bin/app
if ! release/bin/app run "$1"; then
  echo "the smoke script \"$1\" failed in the userland $2" >&2
  exit 1
fi
