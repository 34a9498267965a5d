# The scripts of package.json, as they were when the release was made: nothing here reads JSON.
@find_script@
read_script() {
  app_lines=
  find_script "$1" || fail "package.json has no script \"$1\" (its scripts: $app_known)"
  npm_package_json=$app_home/package.json
  export npm_package_name npm_package_version npm_package_json
}

# npm_run SCRIPT -- [ARGUMENT...]
npm_run() {
  app_script=$1
  shift 2
  if [ "$app_script" = restart ] && ! find_script restart; then
    ! find_script stop || "$app_release/bin/app" stop || exit
    app_script=start
  fi
  run_script "$app_script" "$@"
}
