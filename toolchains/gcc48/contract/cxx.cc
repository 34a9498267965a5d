// What C++ programs ask of their run-time library: much of it is newer than GCC 4.8's.
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <future>
#include <iostream>
#include <locale>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

static int gone = 0;

struct Counted {
    ~Counted() { ++gone; }
    int value = 1;
};

static thread_local Counted counted;

static void check(bool good, const char *what)
{
    if (!good) {
        std::cerr << "wrong: " << what << "\n";
        std::exit(1);
    }
}

int main()
{
    std::thread([] { check(counted.value == 1, "thread_local"); }).join();
    check(gone == 1, "destructors of thread_local objects");

    std::smatch match;
    const std::string text = "node-v16.20.2-linux";
    check(std::regex_search(text, match, std::regex("v([0-9]+)\\.")) && match[1] == "16", "regex");

    try {
        throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory), "x");
    } catch (const std::system_error &error) {
        check(error.code() == std::errc::no_such_file_or_directory, "system_error");
    }
    try {
        std::stoi("none");
    } catch (const std::invalid_argument &) {
        ++gone;
    }
    check(gone == 2, "exceptions");

    std::promise<int> promise;
    auto future = promise.get_future();
    std::thread maker([&promise] { promise.set_value(42); });
    check(future.get() == 42, "future");
    maker.join();

    std::mutex mutex;
    std::condition_variable ready;
    std::unique_lock<std::mutex> lock(mutex);
    check(ready.wait_for(lock, std::chrono::milliseconds(1)) == std::cv_status::timeout, "wait_for");

    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << 1234.5;
    check(out.str() == "1234.5", "locale");

    std::random_device device;
    check(device.max() > 0, "random_device");

    std::map<std::string, std::shared_ptr<std::vector<int>>> table;
    table["a"] = std::make_shared<std::vector<int>>(3, 7);
    check(table.at("a")->back() == 7, "containers");
    check(sizeof(std::string) == sizeof(void *), "the string of GCC 4.8");
    std::ifstream("no such file");
    std::cout << "C++: good" << std::endl;
}
