// Asks an address whether it is well, and whether it is the release that answers: another process may
// hold the port, and the new one have died of that. Runs on Node.js 6 and newer.
//
//   node -e "$ASK" URL FILE PID...   0, and the process that answered in FILE; or 1, and a line that
//                                    says what is wrong

var fs = require("fs"), http = require("http"), net = require("net"), url = require("url");
var file = process.argv[2], pids = process.argv.slice(3);

function end(text) {
  if (text) console.log("health: " + text);
  process.exit(text ? 1 : 0);
}

// A port as /proc/net/tcp writes it.
function hex(port) {
  return ("000" + port.toString(16).toUpperCase()).slice(-4);
}

// The sockets, as /proc/<pid>/fd names them, whose local and remote port are as wanted.
function sockets(wanted) {
  var found = [];
  ["/proc/net/tcp", "/proc/net/tcp6"].filter(fs.existsSync).forEach(function (table) {
    fs.readFileSync(table, "utf8").trim().split("\n").slice(1).forEach(function (row) {
      var words = row.trim().split(/\s+/);
      var isOpen = words[9] !== "0";
      if (isOpen && wanted(words[1].split(":")[1], words[2].split(":")[1]))
        found.push("socket:[" + words[9] + "]");
    });
  });
  return found;
}

// The last of some processes that has one of these sockets open, if this user may see that: one that
// hands connections to its children began before them.
function owner(processes, wanted) {
  return processes.filter(function (pid) {
    try {
      return fs.readdirSync("/proc/" + pid + "/fd").some(function (fd) {
        return wanted.indexOf(fs.readlinkSync("/proc/" + pid + "/fd/" + fd)) >= 0;
      });
    } catch (error) {
      return false; // it has ended, or another user has it
    }
  }).pop();
}

// All processes, in the order of their numbers.
function everyone() {
  return fs.readdirSync("/proc").filter(Number).sort(function (one, two) { return one - two; });
}

// The other end of a connection, when its server has taken it, which it does on its own time.
function otherEnd(connection, found) {
  var server = hex(connection.remotePort), client = hex(connection.localPort), tries = 60;
  (function look() {
    var ends = sockets(function (local, remote) {
      return local === server && remote === client;
    });
    if (ends.length) found(ends);
    else if (--tries) setTimeout(look, 50);
    else end("port " + connection.remotePort + " takes no connections");
  })();
}

function check(connection, ends) {
  var own = owner(pids, ends);
  if (!own) {
    var other = owner(everyone(), ends);
    end("port " + connection.remotePort + " is answered by " +
      (other ? "process " + other : "a process of another user") + ", which does not run from this release");
  }
  // On this very connection: at the same port, another process may take the next one.
  options.createConnection = function () { return connection; };
  options.headers = { Connection: "keep-alive" }; // a server that closes it has no owner any more
  http.get(options, function (answer) {
    // By now a child has it that was handed the connection, maybe one that began after PID... was read.
    try { fs.writeFileSync(file, owner(everyone(), ends) || own); } catch (error) { /* a full disk */ }
    end(answer.statusCode < 400 ? "" : "it answers with the status " + answer.statusCode);
  }).on("error", function (error) { end(error.message); });
}

var options = url.parse(process.argv[1]);
var connection = net.connect(options.port || 80, options.hostname.replace(/[\[\]]/g, ""), function () {
  otherEnd(connection, function (ends) { check(connection, ends); });
}).on("error", function (error) { end(error.message); });
