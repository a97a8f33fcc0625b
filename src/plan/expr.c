#include "plan/expr.h"
