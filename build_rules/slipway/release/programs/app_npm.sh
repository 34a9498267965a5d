# Reads package.json with the release's own Node. Prints the lines of a script for sh, and the variables
# that npm sets for scripts; npm 6 sets one for each value of package.json.
# shellcheck disable=SC2016 # a program for node
app_reader='
  var fs = require("fs"), name = process.env.npm_lifecycle_event, top = process.cwd();
  var npm = process.argv[1] + "/node_runtime/lib/node_modules/npm", out = [];
  function read(path) { return JSON.parse(fs.readFileSync(path, "utf8")); }
  function quoted(text) { return "\x27" + String(text).replace(/\x27/g, "\x27\\\x27\x27") + "\x27"; }
  function set(key, text) { out.push("export " + key + "=" + quoted(text)); }
  function all(key, value) {
    if (value === undefined || (old && value === null)) return;
    if (Array.isArray(value) && !old) value = value.join("\n\n");
    if (value && typeof value === "object") {
      return Object.keys(value).forEach(function (one) { all(key + "_" + one, value[one]); });
    }
    if (old) key = key.replace(/[^A-Za-z0-9_]/g, "_");
    // npm 7 sets variables with any name, which no sh can.
    if (/^\w+$/.test(key)) set(key, value === null || (value === false && !old) ? "" : value);
  }
  function fail(text) { console.error("bin/app: " + text); process.exit(1); }
  var app, npm_version = "";
  try { app = read("package.json"); } catch (error) { fail("cannot read package.json: " + error.message); }
  try { npm_version = String(read(npm + "/package.json").version); } catch (error) { /* without npm */ }
  var old = parseInt(npm_version, 10) < 7, scripts = app.scripts || {};
  if (name === "start" && !scripts.start && fs.existsSync("server.js")) scripts.start = "node server.js";
  var known = Object.keys(scripts).sort().join(", ") || "none";
  var has = Object.prototype.hasOwnProperty.call(scripts, name);
  if (!has && !(name === "restart" && scripts.start)) {
    fail("package.json has no script \"" + name + "\" (its scripts: " + known + ")");
  }
  if (old) all("npm_package", app);
  else ["config", "engines", "bin"].forEach(function (key) { all("npm_package_" + key, app[key]); });
  set("npm_package_name", app.name);
  set("npm_package_version", app.version);
  set("npm_package_json", top + "/package.json");
  set("npm_execpath", npm + "/bin/npm-cli.js");
  set("npm_node_execpath", process.execPath);
  set("NODE", process.execPath);
  if (!old) set("npm_command", "run-script");
  set("npm_config_user_agent", "npm/" + npm_version + " node/" + process.version + " linux x64");
  out.push("app_before=" + quoted(scripts["pre" + name] || ""));
  out.push("app_line=" + quoted(scripts[name] || ""));
  out.push("app_after=" + quoted(scripts["post" + name] || ""));
  console.log(out.join("\n"));
'

read_script() {
  app_lines=$(npm_lifecycle_event=$1 "$app_release/node_runtime/bin/node" -e "$app_reader" "$app_release") ||
    exit 1
}

npm_run() {
  read_script "$1"
  exec "$app_release/node_runtime/bin/node" \
    "$app_release/node_runtime/lib/node_modules/npm/bin/npm-cli.js" run --silent "$@"
}
