// The installed tree as a build script sees it, in the words of npm_tools.installed.
'use strict'
const crypto = require('crypto')
const fs = require('fs')
const path = require('path')

const found = {}

function facts (file, stat) {
  if (stat.isSymbolicLink()) return `link ${fs.readlinkSync(file)}`
  const digest = crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex')
  return `file ${stat.mode & 0o111 ? 'x' : '-'} ${digest}`
}

function walk (folder) {
  for (const name of fs.readdirSync(folder || '.')) {
    const file = path.join(folder, name)
    const stat = fs.lstatSync(file)
    if (stat.isDirectory()) walk(file)
    else if (file.split('/').includes('node_modules')) found[file] = facts(file, stat)
  }
}

walk('')
fs.writeFileSync('tree.json', JSON.stringify(found))
