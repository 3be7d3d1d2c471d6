//! As much of `CloudWatch`'s metric math as the alarms use: `+ - * /`, comparisons, `IF` and `FILL`.

/// The value of an expression; nothing where a metric in it has none.
pub(super) fn evaluate(expression: &str, value_of: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    let mut parser = Parser { rest: expression, value_of };
    let value = parser.comparison();
    assert!(parser.rest.trim().is_empty(), "what is {:?} in {expression:?}?", parser.rest);
    value
}

struct Parser<'a> {
    rest: &'a str,
    value_of: &'a dyn Fn(&str) -> Option<f64>,
}

fn both(a: Option<f64>, b: Option<f64>, of: impl FnOnce(f64, f64) -> f64) -> Option<f64> {
    Some(of(a?, b?))
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) {
        assert!(self.take(token), "{token:?} is missing before {:?}", self.rest);
    }

    fn comparison(&mut self) -> Option<f64> {
        let left = self.sum();
        for (token, holds) in
            [(">=", f64::ge as fn(&f64, &f64) -> bool), ("<=", f64::le), (">", f64::gt), ("<", f64::lt)]
        {
            if self.take(token) {
                return both(left, self.sum(), |a, b| f64::from(u8::from(holds(&a, &b))));
            }
        }
        left
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product();
        loop {
            value = if self.take("+") {
                both(value, self.product(), |a, b| a + b)
            } else if self.take("-") {
                both(value, self.product(), |a, b| a - b)
            } else {
                return value;
            };
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.atom();
        loop {
            value = if self.take("*") {
                both(value, self.atom(), |a, b| a * b)
            } else if self.take("/") {
                both(value, self.atom(), |a, b| a / b).filter(|quotient| quotient.is_finite())
            } else {
                return value;
            };
        }
    }

    fn atom(&mut self) -> Option<f64> {
        if self.take("IF(") {
            let condition = self.comparison();
            self.expect(",");
            let then = self.comparison();
            self.expect(",");
            let otherwise = self.comparison();
            self.expect(")");
            return if condition? == 0.0 { otherwise } else { then };
        }
        if self.take("FILL(") {
            let value = self.comparison();
            self.expect(",");
            let missing = self.comparison();
            self.expect(")");
            return value.or(missing);
        }
        if self.take("(") {
            let value = self.comparison();
            self.expect(")");
            return value;
        }
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        assert!(!word.is_empty(), "a value is missing before {rest:?}");
        self.rest = rest;
        word.parse().ok().or_else(|| (self.value_of)(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_their_values() {
        let metrics = |id: &str| match id {
            "a" => Some(20.0),
            "b" => Some(5.0),
            "zero" => Some(0.0),
            _ => None,
        };
        for (expression, value) in [
            ("a + b * 2 - 1", Some(29.0)),
            ("(a + b) * 2", Some(50.0)),
            ("100 * b / a", Some(25.0)),
            ("a / zero", None),
            ("IF(a >= 20, a / b, 100)", Some(4.0)),
            ("IF(a > 20, a / b, 100)", Some(100.0)),
            ("IF(zero > 0, a / zero, 7)", Some(7.0)),
            ("IF(missing > 0, 1, 2)", None),
            ("a + missing", None),
            ("FILL(missing, 0) + FILL(a, 0)", Some(20.0)),
        ] {
            assert_eq!(evaluate(expression, &metrics), value, "{expression}");
        }
    }
}
