#include <nan.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

// What an old host's libstdc++ must offer: threads, and exceptions that cross them.
std::string InThread(std::string text) {
  std::string result;
  std::exception_ptr failure;
  std::thread worker([&] {
    try {
      if (text.empty()) throw std::invalid_argument("no words");
      result = text + "!";
    } catch (...) {
      failure = std::current_exception();
    }
  });
  worker.join();
  if (failure) std::rethrow_exception(failure);
  return result;
}

NAN_METHOD(Shout) {
  Nan::Utf8String text(info[0]);
  try {
    info.GetReturnValue().Set(Nan::New(InThread(*text)).ToLocalChecked());
  } catch (const std::exception& error) {
    Nan::ThrowError(error.what());
  }
}

NAN_MODULE_INIT(Initialize) { NAN_EXPORT(target, Shout); }

}  // namespace

NODE_MODULE(words, Initialize)
