// What C++ programs ask of their run-time library: much of it is newer than GCC 8's.
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <random>
#include <regex>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <string>
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
    const std::string text = "node-v24.21.0-linux";
    check(std::regex_search(text, match, std::regex("v([0-9]+)\\.")) && match[1] == "24", "regex");

    try {
        throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory), "x");
    } catch (const std::system_error &error) {
        check(error.code() == std::errc::no_such_file_or_directory, "system_error");
    }
    try {
        std::vector<int> many(std::size_t(gone) - 2);
    } catch (const std::length_error &) {
        ++gone;
    }
    try {
        std::exception_ptr kept;
        try {
            std::stoi("none");
        } catch (...) {
            kept = std::current_exception();
        }
        std::exception_ptr copy = kept;
        kept = nullptr;
        std::rethrow_exception(copy);
    } catch (const std::invalid_argument &) {
        ++gone;
    }
    check(gone == 3, "exceptions");

    std::promise<int> promise;
    auto future = promise.get_future();
    std::thread maker([&promise] { promise.set_value(42); });
    check(future.get() == 42, "future");
    maker.join();
    check(std::async(std::launch::async, [] { return 7; }).get() == 7, "async");

    std::mutex mutex;
    std::condition_variable ready;
    bool done = false;
    std::thread waker([&] {
        std::lock_guard<std::mutex> lock(mutex);
        done = true;
        ready.notify_all();
    });
    std::unique_lock<std::mutex> lock(mutex);
    ready.wait(lock, [&] { return done; });
    check(ready.wait_for(lock, std::chrono::milliseconds(1)) == std::cv_status::timeout, "wait_for");
    lock.unlock();
    waker.join();
    std::timed_mutex timed;
    check(timed.try_lock_for(std::chrono::milliseconds(1)), "timed_mutex");
    timed.unlock();
    std::shared_timed_mutex shared;
    check(shared.try_lock_shared_for(std::chrono::milliseconds(1)), "shared_timed_mutex");
    shared.unlock_shared();
    std::once_flag once;
    std::call_once(once, [] { ++gone; });
    check(gone == 4, "call_once");

    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << 1234.5;
    check(out.str() == "1234.5", "locale");
    std::istringstream date("2026-11-27");
    std::tm day{};
    date >> std::get_time(&day, "%Y-%m-%d");
    check(!date.fail() && day.tm_mon == 10, "get_time");

    std::random_device device;
    std::mt19937 engine(device());
    check(device.max() > 0 && device.entropy() >= 0 && std::uniform_int_distribution<>(3, 3)(engine) == 3,
          "random_device");

    char digits[32];
    auto end = std::to_chars(digits, digits + sizeof digits, 0.1).ptr;
    double back = 0;
    std::from_chars(digits, end, back);
    check(std::string(digits, end) == "0.1" && back == 0.1, "charconv");

    std::pmr::monotonic_buffer_resource pool;
    std::pmr::vector<int> numbers({1, 2, 3}, &pool);
    std::pmr::synchronized_pool_resource safe;
    check(numbers.size() == 3 && std::pmr::vector<int>(5, 1, &safe).size() == 5, "pmr");

    namespace fs = std::filesystem;
    const fs::path folder = fs::temp_directory_path() / "cxx-contract";
    fs::create_directories(folder / "a" / "b");
    std::ofstream(folder / "a" / "file") << "12345";
    check(fs::file_size(folder / "a" / "file") == 5, "file_size");
    int found = 0;
    for (const auto &entry : fs::recursive_directory_iterator(folder))
        found += entry.is_directory() ? 10 : 1;
    check(found == 21 && fs::remove_all(folder) == 4, "filesystem");
    try {
        static_cast<void>(fs::file_size(folder));
    } catch (const fs::filesystem_error &) {
        ++gone;
    }
    check(gone == 5, "filesystem_error");

    std::map<std::string, std::shared_ptr<std::vector<int>>> table;
    table["a"] = std::make_shared<std::vector<int>>(3, 7);
    check(table.at("a")->back() == 7, "containers");
#if _GLIBCXX_USE_CXX11_ABI
    check(sizeof(std::string) == 32, "the string of GCC 5 and newer");
#endif
    std::cout << "C++: good" << std::endl;
}
