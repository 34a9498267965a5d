{
  "targets": [{
    "target_name": "words",
    "sources": ["words.cc"],
    "include_dirs": ["<!(node -e \"require('nan')\")"],
    "cflags_cc!": ["-fno-exceptions"],
    "cflags_cc": ["-fexceptions"]
  }]
}
