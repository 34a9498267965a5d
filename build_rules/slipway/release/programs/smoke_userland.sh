# Runs one script of a release in this userland, only with its own tar, gzip and sh.
set -eu
mkdir release
gzip -dc /build/in/release/*.tar.gz | (cd release && tar xf -)
# The launcher of the release without the environment file, which exists only on real hosts.
cp /build/in/app release/bin/app
chmod 755 release/bin/app
if ! release/bin/app run "$1"; then
  echo "the smoke script \"$1\" failed in the userland $2" >&2
  exit 1
fi
