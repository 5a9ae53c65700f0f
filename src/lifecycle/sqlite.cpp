#include "lifecycle/sqlite.hpp"

#include <fmt/format.h>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

Database::~Database() { sqlite3_close_v2(handle_); }

void Database::open(const std::string& path, int busy_timeout_ms) {
  path_ = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  if (sqlite3_open_v2(path.c_str(), &handle_, flags, nullptr) != SQLITE_OK) fail("cannot open");
  sqlite3_busy_timeout(handle_, busy_timeout_ms);
  run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF");
}

void Database::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail("cannot execute");
}

void Database::fail(const std::string& what) const {
  const int code = handle_ ? sqlite3_errcode(handle_) & 0xff : SQLITE_NOMEM;
  const char* reason = handle_ ? sqlite3_errmsg(handle_) : "out of memory";
  errc kind = errc::io_error;
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) kind = errc::unavailable;
  if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) kind = errc::corrupt;
  if (code == SQLITE_CONSTRAINT) kind = errc::already_exists;
  detail::fail(kind, fmt::format("{}: {}: {}", path_, what, reason));
}

Statement::Statement(Database& database, const char* sql) : database_(&database) {
  if (sqlite3_prepare_v2(database.handle(), sql, -1, &statement_, nullptr) != SQLITE_OK)
    database.fail(fmt::format("cannot prepare \"{}\"", sql));
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(std::int64_t value) {
  if (sqlite3_bind_int64(statement_, next_++, value) != SQLITE_OK) database_->fail("cannot bind");
  return *this;
}

Statement& Statement::bind(double value) {
  if (sqlite3_bind_double(statement_, next_++, value) != SQLITE_OK) database_->fail("cannot bind");
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  const char* data = value.data() ? value.data() : "";
  if (sqlite3_bind_text64(statement_, next_++, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK)
    database_->fail("cannot bind");
  return *this;
}

Statement& Statement::bind_null() {
  if (sqlite3_bind_null(statement_, next_++) != SQLITE_OK) database_->fail("cannot bind");
  return *this;
}

void Statement::rewind() {
  sqlite3_reset(statement_);
  next_ = 1;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_->fail("cannot execute");
  return false;
}

void Statement::run() {
  while (step()) {
  }
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))) : std::string();
}

Transaction::Transaction(Database& database, bool durable) : database_(&database), durable_(durable) {
  if (durable_) database_->run("PRAGMA synchronous = FULL");
  database_->run("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (open_) sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  if (durable_) sqlite3_exec(database_->handle(), "PRAGMA synchronous = NORMAL", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_->run("COMMIT");
  open_ = false;
}

}  // namespace redoubt::detail
