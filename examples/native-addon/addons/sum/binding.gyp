{
  "targets": [{
    "target_name": "sum",
    "sources": ["sum.c"]
  }]
}
