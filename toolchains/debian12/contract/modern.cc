#include <atomic>
#include <iostream>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

int main() {
  std::locale::global(std::locale("C.UTF-8"));
  std::atomic<int> count{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { ++count; });
  }
  const bool matched = std::regex_match(std::string("v22.1.0"), std::regex(R"(v(\d+)\.\d+\.\d+)"));
  std::string thrown;
  try {
    throw std::runtime_error("thrown");
  } catch (const std::exception& error) {
    thrown = error.what();
  }
  std::cout << "threads " << count << ", " << (matched ? "matched" : "no match") << ", " << thrown
            << "\n";
}
