"""sfjax: silent failures in medical image classification. Import what you need from its subpackages."""
