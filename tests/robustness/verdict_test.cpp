#include "redoubt/robustness/verdict.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {

Verdict example() {
  Verdict v;
  v.check = "example";
  v.stage = Stage::gate;
  v.outcome = Outcome::warn;
  v.score = 0.1;
  v.summary = "two things \"quoted\"";
  v.findings = {{7, "", 0.9, "row evidence"}, {no_row, "mallory", 0.5, "source evidence"}, {0, "", 0.25, ""}};
  v.seconds = 1.5;
  v.calibration = {{"random label flips, 5 %", 40, 0.8, 0.01}};
  return v;
}

}  // namespace

TEST_CASE("names of stages and outcomes go both ways", "[verdict]") {
  for (Stage s : {Stage::ingest, Stage::pre_train, Stage::epoch, Stage::gate, Stage::serve, Stage::audit})
    CHECK(stage_from_string(to_string(s)) == s);
  for (Outcome o : {Outcome::pass, Outcome::warn, Outcome::block, Outcome::abstain})
    CHECK(outcome_from_string(to_string(o)) == o);
  CHECK_THROWS_WITH(stage_from_string("pretrain"), Catch::Contains("'pretrain'") && Catch::Contains("pre_train"));
  CHECK_THROWS_WITH(outcome_from_string(""), Catch::Contains("abstain"));
}

TEST_CASE("a verdict survives JSON", "[verdict]") {
  const Verdict v = example();
  const Verdict back = Verdict::from_json(v.to_json());
  CHECK(back == v);
  CHECK(back.seconds == v.seconds);
  CHECK(Verdict::from_json(v.to_json(false)).seconds == 0.0);

  Verdict slower = v;
  slower.seconds = 9;
  CHECK(slower == v);
  CHECK(slower.to_json(false) == v.to_json(false));
  CHECK(slower.to_json() != v.to_json());
  slower.findings[0].row = 8;
  CHECK_FALSE(slower == v);
}

TEST_CASE("hostile text in evidence is still written", "[verdict]") {
  Verdict v = example();
  v.findings[0].evidence = "bad utf-8 \xff\xfe";
  v.score = std::nan("");
  const Verdict back = Verdict::from_json(v.to_json());
  CHECK(back.findings.size() == 3);
  CHECK(back.score == 0.0);
}

TEST_CASE("text that is no verdict is an error", "[verdict]") {
  for (const char* text : {"", "{}", "[1]", "{\"check\":3}", "{\"check\":\"a\",\"stage\":\"gate\"}"}) {
    CAPTURE(text);
    try {
      Verdict::from_json(text);
      FAIL("accepted");
    } catch (const Error& e) {
      CHECK(e.code() == errc::parse_error);
    }
  }
}

TEST_CASE("the strictest outcome wins and nothing looked at is no pass", "[verdict]") {
  const auto with = [](Outcome o) {
    Verdict v;
    v.outcome = o;
    return v;
  };
  CHECK(worst({}) == Outcome::abstain);
  std::vector<Verdict> list{with(Outcome::pass)};
  CHECK(worst(list) == Outcome::pass);
  list.push_back(with(Outcome::abstain));
  CHECK(worst(list) == Outcome::abstain);
  list.push_back(with(Outcome::warn));
  CHECK(worst(list) == Outcome::warn);
  list.push_back(with(Outcome::block));
  list.push_back(with(Outcome::pass));
  CHECK(worst(list) == Outcome::block);
}

TEST_CASE("a verdict reads well", "[verdict]") {
  std::ostringstream text;
  text << example();
  CHECK_THAT(text.str(), Catch::Contains("warn") && Catch::Contains("example") && Catch::Contains("row 7") &&
                             Catch::Contains("source mallory") && Catch::Contains("recall 0.80"));
}
