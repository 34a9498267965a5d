# What builds of Node and of its addons start.
set -e
python --version 2>&1 | grep -q 'Python 2\.7'
python3 -c 'import distutils, json, zlib'
printf 'all:\n\t@echo made\n' >Makefile
test "$(make)" = made
for tool in ar ranlib strip objdump readelf ld as patch xz bzip2 perl file; do
    command -v $tool >/dev/null || { echo "no $tool"; exit 1; }
done
echo "tools: there"
