// Requests the health URL and checks that a process of the release answers. Another process may hold the
// port, in which case the new release may have failed to start. Runs on Node.js 6 and newer.
//
//   node -e "$ASK" URL FILE PID...   exits with 0 and writes the id of the process that answered to FILE;
//                                    or exits with 1 and prints the reason

var fs = require("fs"), http = require("http"), net = require("net"), url = require("url");
var file = process.argv[2], pids = process.argv.slice(3);

function end(text) {
  if (text) console.log("health: " + text);
  process.exit(text ? 1 : 0);
}

// A port in the format of /proc/net/tcp.
function hex(port) {
  return ("000" + port.toString(16).toUpperCase()).slice(-4);
}

// The sockets with the wanted local and remote port, in the format of /proc/<pid>/fd.
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

// The last of the processes that has one of these sockets open, if this user may read /proc/<pid>/fd.
// The last, because a master that hands connections to its children started before them.
function owner(processes, wanted) {
  return processes.filter(function (pid) {
    try {
      return fs.readdirSync("/proc/" + pid + "/fd").some(function (fd) {
        return wanted.indexOf(fs.readlinkSync("/proc/" + pid + "/fd/" + fd)) >= 0;
      });
    } catch (error) {
      return false; // the process has ended, or belongs to another user
    }
  }).pop();
}

// All processes, in the order of their ids.
function everyone() {
  return fs.readdirSync("/proc").filter(Number).sort(function (one, two) { return one - two; });
}

// Finds the end of a connection at the server. That socket gets an inode only when the server accepts it.
function otherEnd(connection, found) {
  var server = hex(connection.remotePort), client = hex(connection.localPort), tries = 60;
  (function look() {
    var ends = sockets(function (local, remote) {
      return local === server && remote === client;
    });
    if (ends.length) found(ends);
    else if (--tries) setTimeout(look, 50);
    else end("port " + connection.remotePort + " accepts no connections");
  })();
}

function check(connection, ends) {
  var own = owner(pids, ends);
  if (!own) {
    var other = owner(everyone(), ends);
    end("port " + connection.remotePort + " is answered by " +
      (other ? "process " + other : "a process of another user") + ", which does not run from this release");
  }
  // Send the request over this connection: another process on the same port may accept the next one.
  options.createConnection = function () { return connection; };
  options.headers = { Connection: "keep-alive" }; // after the server closes the socket, no process owns it
  http.get(options, function (answer) {
    // By now a child may own the connection, maybe a child that started after the list PID... was made.
    try { fs.writeFileSync(file, owner(everyone(), ends) || own); } catch (error) { /* a full disk */ }
    end(answer.statusCode < 400 ? "" : "the response status is " + answer.statusCode);
  }).on("error", function (error) { end(error.message); });
}

var options = url.parse(process.argv[1]);
var connection = net.connect(options.port || 80, options.hostname.replace(/[\[\]]/g, ""), function () {
  otherEnd(connection, function (ends) { check(connection, ends); });
}).on("error", function (error) { end(error.message); });
