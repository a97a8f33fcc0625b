# tests of dsl
