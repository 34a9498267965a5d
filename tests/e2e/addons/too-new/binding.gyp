{
  "targets": [
    { "target_name": "getentropy", "sources": ["getentropy.cc"] },
    { "target_name": "getrandom", "sources": ["getrandom.cc"] },
    { "target_name": "reallocarray", "sources": ["reallocarray.cc"] },
    { "target_name": "cxx11_string", "sources": ["cxx11_string.cc"] },
    { "target_name": "opened", "sources": ["opened.cc"], "libraries": ["-ldl"] }
  ]
}
