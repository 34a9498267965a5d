// C++20, as the headers of Node 24 and 26 need it.
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <chrono>
#include <compare>
#include <concepts>
#include <coroutine>
#include <iostream>
#include <latch>
#include <numbers>
#include <ranges>
#include <semaphore>
#include <source_location>
#include <span>
#include <sstream>
#include <stop_token>
#include <string>
#include <string_view>
#include <syncstream>
#include <thread>
#include <vector>

template <typename T>
concept Number = std::integral<T> || std::floating_point<T>;

template <Number T> constexpr T twice(T value) { return value + value; }

consteval int fixed() { return twice(21); }

struct Version {
    int major, minor;
    auto operator<=>(const Version &) const = default;
};

struct Numbers {
    struct promise_type {
        int current = 0;
        Numbers get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(int value) { current = value; return {}; }
        void return_void() {}
        void unhandled_exception() { throw; }
    };
    std::coroutine_handle<promise_type> handle;
    ~Numbers() { handle.destroy(); }
};

static Numbers count(int last)
{
    for (int i = 1; i <= last; ++i)
        co_yield i;
}

struct alignas(16) Pair { long a, b; };

static int sum(std::span<const int> values)
{
    int total = 0;
    for (int value : values | std::views::filter([](int v) { return v % 2 == 0; }))
        total += value;
    return total;
}

int main()
{
    static_assert(fixed() == 42 && std::popcount(7u) == 3 && Version{24, 1} < Version{26, 0});
    const std::array values{1, 2, 3, 4};
    if (sum(values) != 6 || !std::ranges::is_sorted(values) || std::numbers::pi < 3)
        return 2;
    int total = 0;
    for (auto numbers = count(3); numbers.handle.resume(), !numbers.handle.done();)
        total += numbers.handle.promise().current;
    if (total != 6)
        return 3;
    std::atomic<int> turns{0};
    std::latch ready(4);
    std::counting_semaphore<4> places(2);
    std::barrier together(4);
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&](std::stop_token) {
                places.acquire();
                ++turns;
                turns.notify_all();
                places.release();
                ready.count_down();
                together.arrive_and_wait();
                std::osyncstream(std::cerr) << "";
            });
        for (int seen = turns; seen < 4; seen = turns)
            turns.wait(seen);
        ready.wait();
    }
    // The compiler calls libatomic for it, which it links statically.
    std::atomic<Pair> pair{Pair{1, 2}};
    Pair next = pair.load();
    pair.store({next.b, next.a});
    if (pair.load().a != 2)
        return 4;
    std::ostringstream text;
    text << "line ";
    std::string moved = std::move(text).str();
    if (!moved.starts_with("line") || std::u8string_view(u8"ä").size() != 2)
        return 5;
    if (std::string_view(std::source_location::current().function_name()).empty())
        return 6;
    std::cout << "C++20: good" << std::endl;
}
