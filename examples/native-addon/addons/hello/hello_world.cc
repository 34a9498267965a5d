#include <node.h>

#include <string>

namespace {

v8::Local<v8::String> Text(v8::Isolate* isolate, const std::string& text) {
  return v8::String::NewFromUtf8(isolate, text.c_str(), v8::NewStringType::kNormal)
      .ToLocalChecked();
}

void Hello(const v8::FunctionCallbackInfo<v8::Value>& arguments) {
  arguments.GetReturnValue().Set(Text(arguments.GetIsolate(), "world"));
}

void Initialize(v8::Local<v8::Object> exports) { NODE_SET_METHOD(exports, "hello", Hello); }

}  // namespace

NODE_MODULE(hello_world, Initialize)
