//! The price list of the demo's shop: what the service knows from the start and what the tills ring up.

/// An article: price in cents with VAT, VAT in basis points.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub sku: &'static str,
    pub name: &'static str,
    pub price_cents: i64,
    pub vat_bp: i64,
}

const fn food(sku: &'static str, name: &'static str, price_cents: i64) -> Product {
    Product { sku, name, price_cents, vat_bp: 700 }
}

const fn goods(sku: &'static str, name: &'static str, price_cents: i64) -> Product {
    Product { sku, name, price_cents, vat_bp: 1900 }
}

pub const PRODUCTS: &[Product] = &[
    food("4001001", "Whole milk 1 l", 119),
    food("4001002", "Oat drink 1 l", 189),
    food("4001003", "Butter 250 g", 229),
    food("4001004", "Plain yoghurt 500 g", 139),
    food("4001005", "Gouda, sliced 200 g", 249),
    food("4001006", "Free-range eggs, 10", 329),
    food("4002001", "Rye bread 750 g", 299),
    food("4002002", "Wheat rolls, 6", 179),
    food("4002003", "Croissant", 129),
    food("4002004", "Pretzel", 89),
    food("4003001", "Bananas 1 kg", 179),
    food("4003002", "Apples 1 kg", 269),
    food("4003003", "Tomatoes 500 g", 219),
    food("4003004", "Cucumber", 99),
    food("4003005", "Potatoes 2 kg", 349),
    food("4003006", "Onions 1 kg", 149),
    food("4003007", "Lemons, 3", 129),
    food("4004001", "Spaghetti 500 g", 129),
    food("4004002", "Basmati rice 1 kg", 359),
    food("4004003", "Tomato passata 700 ml", 149),
    food("4004004", "Olive oil 750 ml", 899),
    food("4004005", "Sea salt 500 g", 99),
    food("4004006", "Honey 500 g", 549),
    food("4004007", "Dark chocolate 100 g", 159),
    food("4004008", "Espresso beans 1 kg", 1499),
    food("4004009", "Green tea, 20 bags", 249),
    goods("4005001", "Mineral water 6 x 1.5 l", 354),
    goods("4005002", "Cola 1 l", 129),
    goods("4005003", "Apple juice 1 l", 179),
    goods("4005004", "Pilsner 0.5 l", 109),
    goods("4005005", "Riesling 0.75 l", 699),
    goods("4006001", "Washing powder 1.3 kg", 649),
    goods("4006002", "Dish soap 500 ml", 145),
    goods("4006003", "Toilet paper, 8 rolls", 399),
    goods("4006004", "Toothpaste 75 ml", 165),
    goods("4006005", "Shampoo 250 ml", 279),
    goods("4006006", "Bin bags 35 l, 20", 199),
    goods("4007001", "AA batteries, 4", 449),
    goods("4007002", "Tea lights, 30", 299),
    goods("4007003", "Notebook A5", 249),
];

/// Pieces of each article in the shop when it opens.
pub const OPENING_STOCK: i64 = 1_000;

pub fn find(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.sku == sku)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_article_has_its_own_number_and_a_price() {
        let mut skus: Vec<_> = PRODUCTS.iter().map(|product| product.sku).collect();
        skus.sort_unstable();
        skus.dedup();
        assert_eq!(skus.len(), PRODUCTS.len());
        assert!(PRODUCTS.iter().all(|product| product.price_cents > 0 && product.vat_bp > 0));
        assert!(find("4001001").is_some() && find("0000000").is_none());
    }
}
