// Teams without Python: what the governor learns, that shares cover everything once, what a body throws.

#include "core/threading.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/threading_governor.h"
#include "regkern/runtime.h"

namespace regkern::threading {
namespace {

constexpr Time kMicro = 1000, kMilli = 1'000'000;

TEST(Governor, HoldsFiftyTimesTheLoss) {
  Governor governor;
  EXPECT_TRUE(governor.invites(100 * kMicro, 0));
  governor.learn(100 * kMicro, -4 * kMilli, kMilli);  // all waited for a helper that others had put aside
  const Time until = kMilli + 50 * (4 * kMilli + 10 * kMicro);
  EXPECT_FALSE(governor.invites(100 * kMicro, until - 1));
  EXPECT_TRUE(governor.invites(100 * kMicro, until));
  EXPECT_TRUE(governor.invites(kMilli, 2 * kMilli)) << "longer work is not judged by shorter";
}

TEST(Governor, SavesATenthOrStops) {
  Governor governor;
  governor.learn(kMilli, kMilli / 10, 0);
  EXPECT_TRUE(governor.invites(kMilli, 1));
  governor.learn(kMilli, kMilli / 11, 0);
  EXPECT_FALSE(governor.invites(kMilli, 1));
  EXPECT_FALSE(governor.invites(kMilli, 20 * kMilli - 1)) << "a small loss holds for twenty times the work";
  EXPECT_TRUE(governor.invites(kMilli, 20 * kMilli));
}

TEST(Governor, SuccessBringsTeamsBack) {
  Governor governor;
  governor.learn(8 * kMilli, -8 * kMilli, 0);
  EXPECT_FALSE(governor.invites(9 * kMilli, 1));
  governor.learn(2 * kMilli, kMilli, 1);  // had been invited before
  EXPECT_TRUE(governor.invites(2 * kMilli, 2));
  EXPECT_FALSE(governor.invites(kMilli, 2));
}

TEST(Governor, AMissHoldsFiftyTimesItsCallAlone) {
  Governor governor;
  governor.miss(kMilli, 10 * kMicro,
                0);  // a tenth of the work was not saved, and would hold for twenty times it
  EXPECT_FALSE(governor.invites(kMilli, 500 * kMicro - 1));
  EXPECT_TRUE(governor.invites(kMilli, 500 * kMicro));
  EXPECT_TRUE(governor.invites(2 * kMilli, 1)) << "longer work is not judged by shorter";
}

TEST(Governor, AMissShortensNoHold) {
  Governor governor;
  governor.learn(4 * kMilli, -4 * kMilli, 0);
  const Time until = 50 * (4 * kMilli + 4 * kMilli / 10);
  governor.miss(kMilli, kMicro, kMilli);
  EXPECT_FALSE(governor.invites(4 * kMilli, until - 1));
  EXPECT_TRUE(governor.invites(4 * kMilli, until));
}

TEST(Forecast, TheLeastLately) {
  Forecast forecast;
  static const char site = 0, other = 0;
  const std::size_t place = forecast.place(&site, 1000, 4000);
  EXPECT_NE(place, forecast.place(&other, 1000, 4000));
  EXPECT_NE(place, forecast.place(&site, 1001, 4000));
  EXPECT_EQ(forecast.expected(place), 0);
  forecast.see_team(place, 300, 500);
  EXPECT_EQ(forecast.expected(place), 500);
  forecast.see_alone(place, 800);
  EXPECT_EQ(forecast.expected(place), 800) << "what was seen counts, not what a team guessed";
  forecast.see_alone(place, 1600);
  EXPECT_EQ(forecast.expected(place), 900);
  forecast.see_alone(place, 400);
  EXPECT_EQ(forecast.expected(place), 400);
}

TEST(Forecast, PrefersWhatWasFasterAndTriesTheOtherWayNowAndThen) {
  Forecast forecast;
  for (const bool team_is_better : {true, false}) {
    const std::size_t place = team_is_better ? 1 : 2;
    int teams = 0;
    for (int run = 0; run < 640; ++run) {
      const bool team = forecast.prefers_team(place);
      teams += team;
      if (team) {
        forecast.see_team(place, team_is_better ? 500 : 950, 1000);
      } else {
        forecast.see_alone(place, 1000);
      }
    }
    EXPECT_EQ(teams, team_is_better ? 640 - 10 - 1 : 10 + 3);
  }
}

// In all tests of this program, whatever file they are in, every call that fills two pages is cut and joined.
[[maybe_unused]] const bool ungoverned = (set_governed(false), true);

TEST(Teams, CoverEverythingOnceOnTheGrid) {
  for (const int size : {1, 2, 3, 7, 64}) {
    for (const std::size_t n : {0, 1, 63, 64, 65, 1000, 4096}) {
      for (const std::size_t grain : {1, 16, 64}) {
        for (const Way way : {Way::kForward, Way::kBackward}) {
          std::vector<std::atomic<int>> times(n);
          std::atomic<bool> on_grid{true};
          for_ranges(
              Team{size, 1 << 20}, n, grain,
              [&](std::size_t begin, std::size_t end) {
                if (begin % grain != 0 || (end % grain != 0 && end != n) || begin >= end) on_grid = false;
                for (std::size_t i = begin; i < end; ++i) ++times[i];
              },
              way);
          EXPECT_TRUE(on_grid);
          for (const auto& t : times) ASSERT_EQ(t, 1);
        }
      }
    }
  }
}

TEST(Teams, BackwardGoesBackward) {
  std::vector<std::size_t> begins;
  std::mutex mutex;
  const auto caller = std::this_thread::get_id();
  for_ranges(
      Team{2, 1 << 20}, 1 << 16, 1,
      [&](std::size_t begin, std::size_t) {
        const std::lock_guard lock(mutex);
        if (std::this_thread::get_id() == caller && begin < 1 << 15) begins.push_back(begin);
      },
      Way::kBackward);
  EXPECT_TRUE(std::is_sorted(begins.rbegin(), begins.rend()));
}

TEST(Teams, WhatABodyThrowsArrivesAfterAllHaveEnded) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> inside{0};
    EXPECT_THROW(for_ranges(Team{4, 1 << 20}, 64, 1,
                            [&](std::size_t begin, std::size_t) {
                              ++inside;
                              if (begin >= 32) {
                                --inside;
                                throw std::runtime_error("in a piece");
                              }
                              --inside;
                            }),
                 std::runtime_error);
    EXPECT_EQ(inside, 0);
  }
}

TEST(Teams, ARegionInsideIsSerial) {
  std::atomic<int> largest{0};
  for_ranges(Team{4, 1 << 20}, 64, 1, [&](std::size_t, std::size_t) {
    const int size = team_for(std::size_t{1} << 30).size;
    if (size > largest) largest = size;
  });
  EXPECT_EQ(largest, 1);
  EXPECT_GE(team_for(std::size_t{1} << 30).size, 1);
}

TEST(Teams, OfOpenMPCoverEverythingOnce) {
  const LocalThreads before = swap_local_threads({3, true});
  for (int round = 0; round < 50; ++round) {
    std::vector<std::atomic<int>> times(4096);
    const Team team = team_for(std::size_t{1} << 20);
    EXPECT_EQ(team.size, 3);
    for_ranges(team, times.size(), 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) ++times[i];
      EXPECT_EQ(team_for(std::size_t{1} << 30).size, 1) << "inside of a region";
    });
    for (const auto& t : times) ASSERT_EQ(t, 1);
    EXPECT_THROW(
        for_ranges(team, 64, 1, [](std::size_t, std::size_t) { throw std::runtime_error("in a piece"); }),
        std::runtime_error);
  }
  const LocalThreads mine = swap_local_threads(before);
  EXPECT_EQ(mine.number, 3);
  EXPECT_TRUE(mine.openmp);
}

TEST(Teams, ManyCallersShareTheHelpers) {
  std::vector<std::thread> callers;
  std::atomic<std::size_t> sum{0};
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        for_ranges(Team{3, 1 << 20}, 100, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, std::size_t{6} * 200 * 100);
}

}  // namespace
}  // namespace regkern::threading
