#include <node_api.h>
#include <stddef.h>

static napi_value Sum(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  double left = 0, right = 0;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count < 2 ||
      napi_get_value_double(env, arguments[0], &left) != napi_ok ||
      napi_get_value_double(env, arguments[1], &right) != napi_ok) {
    napi_throw_type_error(env, NULL, "two numbers are needed");
    return NULL;
  }
  return napi_create_double(env, left + right, &result) == napi_ok ? result : NULL;
}

static napi_value Initialize(napi_env env, napi_value exports) {
  napi_value function;
  if (napi_create_function(env, "sum", NAPI_AUTO_LENGTH, Sum, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "sum", function) != napi_ok) {
    return NULL;
  }
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, Initialize)
