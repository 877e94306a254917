use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::dynamodb::Item;

/// The expressions of one request to a table, with their names and values.
///
/// In the text of an expression `#name` stands for the attribute `name`, because many plain names are
/// [reserved words](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html), and `:name`
/// stands for a value. Names are collected from the texts, so none is missing and none is unused: DynamoDB refuses
/// both. A text is always a constant of this crate; input may be a name or a value.
#[derive(Debug, Default)]
pub(super) struct Expression {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
    condition: Option<String>,
    names: HashMap<&'static str, String>,
    values: Item,
}

/// An [`Expression`] in the form of the SDK's requests, in which no part is empty.
#[derive(Debug, PartialEq)]
pub(super) struct ExpressionParts {
    pub(super) update: Option<String>,
    pub(super) condition: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<Item>,
}

impl Expression {
    /// Sets an attribute to a value, which is `:name` in the texts.
    pub(super) fn assign(self, name: &str, value: AttributeValue) -> Self {
        self.set(format!("#{name} = :{name}")).value(name, value)
    }

    /// Adds assignments, such as `#sum = #sum + :more`. They apply to the item as it was before the write.
    pub(super) fn set(mut self, assignments: impl Into<String>) -> Self {
        self.set.push(assignments.into());
        self
    }

    /// Removes an attribute, or a member of a map: `#lease`, `#holds.#run`.
    pub(super) fn remove(mut self, path: &str) -> Self {
        self.remove.push(path.to_owned());
        self
    }

    /// Adds to a number or to a set, such as `#sum :more`. An absent attribute counts as 0 or as an empty set.
    pub(super) fn add(mut self, addition: &str) -> Self {
        self.add.push(addition.to_owned());
        self
    }

    /// Removes members of a set, such as `#set :members`. An empty set is an absent attribute.
    pub(super) fn delete(mut self, members: &str) -> Self {
        self.delete.push(members.to_owned());
        self
    }

    /// The condition of the request.
    pub(super) fn condition(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Makes `#alias` stand for `attribute`.
    pub(super) fn name(mut self, alias: &'static str, attribute: &str) -> Self {
        self.names.insert(alias, attribute.to_owned());
        self
    }

    /// Makes `:alias` stand for `value`.
    pub(super) fn value(mut self, alias: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{alias}"), value);
        self
    }

    pub(super) fn parts(self) -> ExpressionParts {
        let clause = |keyword, parts: &[String]| (!parts.is_empty()).then(|| format!("{keyword} {}", parts.join(", ")));
        let clauses = [
            clause("SET", &self.set),
            clause("REMOVE", &self.remove),
            clause("ADD", &self.add),
            clause("DELETE", &self.delete),
        ];
        let update = clauses.into_iter().flatten().reduce(|before, clause| format!("{before} {clause}"));
        let texts = update.iter().chain(&self.condition);
        let names = texts.flat_map(|text| text.split('#').skip(1)).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            (format!("#{name}"), self.names.get(name).map_or(name, String::as_str).to_owned())
        });
        let names: HashMap<_, _> = names.collect();
        ExpressionParts {
            update,
            condition: self.condition,
            names: (!names.is_empty()).then_some(names),
            values: (!self.values.is_empty()).then_some(self.values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_collects_its_texts_names_and_values() {
        let number = |value: &str| AttributeValue::N(value.to_owned());
        let expression = Expression::default()
            .assign("st", number("1"))
            .set("#rid1 = if_not_exists(#rid,:none), #map.#slot = :pic")
            .remove("#lease")
            .remove("#holds.#slot")
            .condition("attribute_exists(#sum) AND (#st<>:st OR #sum >= :none)")
            .name("slot", "#0 :x, y")
            .value("none", number("0"))
            .value("pic", number("2"));
        let plain =
            ["st", "rid1", "rid", "map", "lease", "holds", "sum"].map(|name| (format!("#{name}"), name.to_owned()));
        let names = plain.into_iter().chain([("#slot".to_owned(), "#0 :x, y".to_owned())]).collect();
        let values = [(":st", "1"), (":none", "0"), (":pic", "2")];
        let update = "SET #st = :st, #rid1 = if_not_exists(#rid,:none), #map.#slot = :pic REMOVE #lease, #holds.#slot";
        let condition = "attribute_exists(#sum) AND (#st<>:st OR #sum >= :none)";
        assert_eq!(
            expression.parts(),
            ExpressionParts {
                update: Some(update.to_owned()),
                condition: Some(condition.to_owned()),
                names: Some(names),
                values: Some(values.map(|(name, value)| (name.to_owned(), number(value))).into()),
            }
        );
    }

    #[test]
    fn a_part_of_an_expression_that_would_be_empty_is_absent() {
        let empty = ExpressionParts { update: None, condition: None, names: None, values: None };
        assert_eq!(Expression::default().parts(), empty);
        let update = |expression: Expression| expression.parts().update.unwrap();
        assert_eq!(update(Expression::default().remove("#a")), "REMOVE #a");
        assert_eq!(update(Expression::default().set("#a = #b")), "SET #a = #b");
        let sets = Expression::default().delete("#a :a").add("#b :b").add("#c :c").remove("#d");
        assert_eq!(update(sets), "REMOVE #d ADD #b :b, #c :c DELETE #a :a");
    }
}
