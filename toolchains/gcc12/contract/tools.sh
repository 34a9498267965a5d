# What builds of addons start.
set -e
python3 -c 'import distutils, json, zlib, hashlib, bz2, lzma'
printf 'all:\n\t@echo made\n' >Makefile
test "$(make)" = made
for tool in ar ranlib strip objdump readelf ld as patch xz bzip2 perl file gcc-ar gcc-nm hostname; do
    command -v $tool >/dev/null || { echo "no $tool"; exit 1; }
done
echo "tools: there"
