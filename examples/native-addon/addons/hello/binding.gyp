{
  "targets": [{
    "target_name": "hello_world",
    "sources": ["hello_world.cc"]
  }]
}
