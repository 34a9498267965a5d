#!/bin/sh
# Adds the definitions of new Node releases, and pushes them to a branch for a merge request.
#
#   update-node.sh [branch]
#
# Prints "nothing to update" and changes nothing if no line in use has a newer release. In GitLab, the
# push opens the merge request. Elsewhere, the last line of the output is the branch to open one for.
set -eu

branch=${1:-update-node}
remote=${UPDATE_NODE_REMOTE:-origin}
start=$(git rev-parse --abbrev-ref HEAD)

./pants node-definitions --update
changed=$(git status --porcelain -- toolchains/node)
if [ -z "$changed" ]; then
  echo "nothing to update"
  exit 0
fi

versions=$(echo "$changed" | sed -n 's|^.*toolchains/node/\(.*\)\.toml$|\1|p' | tr '\n' ' ')
title="Add Node ${versions% }"
git checkout -q -B "$branch"
git add -- toolchains/node
git -c user.name="${GIT_AUTHOR_NAME:-update-node}" \
  -c user.email="${GIT_AUTHOR_EMAIL:-update-node@localhost}" \
  commit -q -m "$title"
# The branch belongs to this script: an earlier update that nobody merged is replaced.
if [ -n "${GITLAB_CI:-}" ]; then
  git push -q --force "$remote" "$branch" \
    -o merge_request.create -o "merge_request.title=$title" -o "merge_request.target=$start"
else
  git push -q --force "$remote" "$branch"
fi
git checkout -q "$start"
echo "$branch"
